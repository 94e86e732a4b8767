//! `PUT /admin/firmware/{sku}/{version}`: an image becomes an artifact.
//!
//! 1. It streams into R2 under a name of its own, where nobody looks.
//! 2. It is judged by what was seen of it on the way, and by the keys that are registered.
//! 3. It is copied to the name that says what it is, `{sku}/{version}/{sha256}.bin`, R2 checking the hash.
//! 4. Its row is written. That is what makes it an artifact, and decides between uploads that race.
//!
//! Whatever fails before the fourth step leaves nothing that anybody could see, and the upload can be repeated.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rs1_auth::firmware::PublicKey;
use rs1_auth::operator::Operator;
use rs1_domain::firmware::{Image, MAX_SIZE, SignatureBlock};
use rs1_domain::port::{Database, FileStore, Random};
use rs1_domain::problem::Kind;
use rs1_domain::security::{SecurityEvent, SecurityKind};
use rs1_domain::{Answer, Faults, FirmwareVersion, Problem, RecordId, Request, Sku, hex};
use rs1_store::firmware::{self, Artifact, Key, NewArtifact};
use rs1_store::security;
use rs1_store::sql::{first_row, run};
use serde_json::json;

/// The request headers that count.
pub const HEADERS: [&str; 4] = ["content-encoding", "content-length", "content-type", "repr-digest"];

/// Where files are until they are judged; what a crash leaves there, the bucket's lifecycle deletes after a day.
const INCOMING: &str = "incoming";

/// What is announced.
struct Upload {
    sku: Sku,
    version: FirmwareVersion,
    size: u64,
    digest: Option<[u8; 32]>,
}

impl Upload {
    fn read((sku, version): (&str, &str), request: &Request) -> Result<Self, Problem> {
        let mut faults = Faults::new();
        let (sku, version) = (Sku::parse(sku), FirmwareVersion::parse(version));
        faults.require(sku.is_some(), "/sku", Sku::EXPECTED);
        faults.require(version.is_some(), "/version", FirmwareVersion::EXPECTED);
        let digest = request.header("repr-digest").map(read_digest);
        faults.require(
            digest != Some(None),
            "Repr-Digest",
            "must be sha-256=:…: with the Base64 of the file's SHA-256 between the colons",
        );
        if !request.query.is_empty() {
            faults.add("?", "no parameter is known");
        }
        let is_plain = request.header("content-encoding").is_none_or(|coding| coding == "identity");
        let is_binary = request.header("content-type").is_none_or(|content_type| {
            let essence = content_type.split(';').next().unwrap_or_default();
            essence.trim().eq_ignore_ascii_case("application/octet-stream")
        });
        if !is_plain || !is_binary {
            let detail = "the image is sent as it is: application/octet-stream, without an encoding";
            return Err(Problem::new(Kind::UnsupportedMediaType, detail));
        }
        let Some(size) = request.header("content-length").and_then(|text| text.parse().ok()) else {
            return Err(Problem::new(Kind::LengthRequired, "send the image with its Content-Length"));
        };
        if size > MAX_SIZE {
            return Err(Problem::too_large(usize::try_from(MAX_SIZE).unwrap_or(usize::MAX)));
        }
        faults.require(size > 0, "/size", "there is no image");
        match (sku, version) {
            (Some(sku), Some(version)) if faults.is_empty() => {
                Ok(Self { sku, version, size, digest: digest.flatten() })
            }
            _ => Err(faults.into()),
        }
    }
}

/// The SHA-256 of a `Repr-Digest` (RFC 9530): a dictionary of algorithms and byte sequences between colons.
fn read_digest(header: &str) -> Option<[u8; 32]> {
    let mut members = header.split(',').filter_map(|member| member.trim().split_once('='));
    let (_, value) = members.find(|(algorithm, _)| *algorithm == "sha-256")?;
    let text = value.strip_prefix(':')?.strip_suffix(':')?;
    STANDARD.decode(text).ok()?.try_into().ok()
}

/// Takes an image in: 201 with the artifact, 200 if it is there already.
///
/// # Errors
/// 411, 413, 415 for what is not sent as it should be; 422 naming every fault of the image; 409 if the version is taken
/// by another image; 503 when the database or R2 fails.
pub async fn put(
    db: &impl Database,
    files: &impl FileStore,
    random: &impl Random,
    operator: &Operator,
    name: (&str, &str),
    request: &Request,
) -> Result<Answer, Problem> {
    let upload = Upload::read(name, request)?;
    let id = RecordId::generate("fwa", request.now, random.bytes());
    let incoming = format!("{INCOMING}/{id}");
    let kept = keep(db, files, &upload, &id, &incoming, operator, request).await;
    let kept = match kept {
        Err(problem) if problem.kind == Kind::Invalid => {
            Err(tell(db, random, operator, request, problem).await)
        }
        kept => kept,
    };
    // It has served its purpose, whatever came of it.
    match (kept, files.delete(&incoming).await) {
        (Ok(answer), Err(error)) => Ok(answer.with_log(error.to_string())),
        (kept, _) => kept,
    }
}

async fn keep(
    db: &impl Database,
    files: &impl FileStore,
    upload: &Upload,
    id: &RecordId,
    incoming: &str,
    operator: &Operator,
    request: &Request,
) -> Result<Answer, Problem> {
    let Upload { sku, version, size, digest } = upload;
    let seen = files
        .receive(incoming, *size, &request.body)
        .await?
        .ok_or_else(|| Problem::malformed("the body did not come whole"))?;
    let mut faults = Faults::new();
    if digest.is_some_and(|digest| digest != seen.sha256) {
        let detail = format!("is not that of the file, sha-256=:{}:", STANDARD.encode(seen.sha256));
        faults.add("Repr-Digest", detail);
        return Err(faults.into());
    }
    let image = Image::read(&seen, *sku, version, &mut faults);
    let signer = image.block.as_ref().map(|block| hex::encode(&block.public_key)).unwrap_or_default();
    let statements = [firmware::artifact(*sku, version), firmware::key_by_public_key(&signer)];
    let [present, key] = run(db, statements).await?;

    let sha256 = hex::encode(&seen.sha256);
    let present = first_row::<Artifact>(&present)?;
    if let Some(artifact) = present.as_ref().filter(|artifact| artifact.sha256 == sha256) {
        return Ok(Answer::json(200, artifact));
    }
    let key = first_row::<Key>(&key)?;
    if let Some(block) = &image.block {
        judge_signature(block, key.as_ref(), &mut faults);
    }
    let (description, block, key) = match (image.description, image.block, key) {
        (Some(description), Some(block), Some(key)) if faults.is_empty() => (description, block, key),
        _ => return Err(faults.into()),
    };
    if present.is_some() {
        return Err(taken(*sku, version));
    }

    let file = firmware::file(*sku, version.as_str(), &sha256);
    files.publish(incoming, &file, &seen.sha256).await?;
    let new = NewArtifact {
        id: id.clone(),
        sku: *sku,
        version,
        sha256: &sha256,
        size: *size,
        elf_sha256: &hex::encode(&description.elf_sha256),
        fw_version: block.fw_version,
        project_name: &description.project_name,
        built_at: block.built_at,
        key_id: &key.key_id,
        at: request.now,
        by: &operator.name,
    };
    let [_, outcome] = run(db, [firmware::add_artifact(&new), firmware::artifact(*sku, version)]).await?;
    match first_row::<Artifact>(&outcome)? {
        Some(artifact) if artifact.sha256 == sha256 => {
            let status = if artifact.artifact_id == id.as_str() { 201 } else { 200 };
            Ok(Answer::json(status, &artifact))
        }
        // Another upload came first, or the key was revoked in the meantime. Nobody will ever ask for this file.
        other => {
            let problem = if other.is_some() { taken(*sku, version) } else { revoked(&key) };
            Err(match files.delete(&file).await {
                Ok(()) => problem,
                Err(error) => problem.with_log(error.to_string()),
            })
        }
    }
}

/// Tells the security log of an image that is none of ours, or not what it is said to be.
async fn tell(
    db: &impl Database,
    random: &impl Random,
    operator: &Operator,
    request: &Request,
    problem: Problem,
) -> Problem {
    let faults: Vec<_> = problem.faults.iter().map(|fault| fault.pointer.as_str()).collect();
    let (kind, detail) = (SecurityKind::FirmwareRejected, json!({"path": request.path, "faults": faults}));
    let event = SecurityEvent::new(kind, &operator.name, request.now, random.bytes(), detail);
    let told = match security::record(&[event]) {
        Ok(event) => run(db, [event]).await.map(|_| ()).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match told {
        Ok(()) => problem,
        Err(why) => problem.with_log(format!("not recorded: {why}")),
    }
}

fn judge_signature(block: &SignatureBlock, key: Option<&Key>, faults: &mut Faults) {
    let at = "/signature_block/public_key";
    let Some(public_key) = PublicKey::from_bytes(block.public_key) else {
        faults.add(at, "is no point of the curve P-256");
        return;
    };
    match key {
        None => faults.add(at, format!("is not registered: {}", public_key.to_hex())),
        Some(key) if key.revoked_at.is_some() => faults.add(at, format!("was revoked: {}", key.key_id)),
        Some(_) => {}
    }
    faults.require(
        public_key.signed(&block.fw_hash, &block.signature),
        "/signature_block/signature",
        "is not that key's over fw_hash",
    );
}

fn taken(sku: Sku, version: &FirmwareVersion) -> Problem {
    Problem::conflict(format!("{sku} {version} is another image, and versions never change"))
}

fn revoked(key: &Key) -> Problem {
    let mut faults = Faults::new();
    faults.add("/signature_block/public_key", format!("was revoked: {}", key.key_id));
    faults.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_found_among_others() {
        let digest = STANDARD.encode([7; 32]);
        for header in [
            format!("sha-256=:{digest}:"),
            format!("sha-512=:AAAA:, sha-256=:{digest}:"),
            format!("  sha-256=:{digest}:, md5=:AAAA:"),
        ] {
            assert_eq!(read_digest(&header), Some([7; 32]), "{header}");
        }
        for header in ["", "sha-256", "sha-256=", "sha-256=::", "sha-256=:AAAA:", "sha-512=:AAAA:", &digest] {
            assert_eq!(read_digest(header), None, "{header}");
        }
        assert_eq!(read_digest(&format!("sha-256={digest}")), None, "without colons");
    }
}
