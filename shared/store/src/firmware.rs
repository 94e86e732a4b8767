//! Firmware: signing keys, artifacts, and how often devices tried to download them.

use rs1_domain::port::Statement;
use rs1_domain::time::{as_millis, as_optional_millis};
use rs1_domain::{DeviceId, FirmwareVersion, RecordId, Sku, UnixMillis};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

use crate::sql::PageRequest;

/// A key that signs firmware, as operators see it.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "FirmwareKey"))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// `fwk-…`.
    pub key_id: String,
    /// What people call it.
    pub name: String,
    /// x and y, 128 lower-case hex digits.
    pub public_key: String,
    /// When it was registered.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub created_at: UnixMillis,
    /// Who registered it.
    pub created_by: String,
    /// Since when it is not good any more.
    #[serde(deserialize_with = "as_optional_millis::deserialize")]
    pub revoked_at: Option<UnixMillis>,
    /// Who revoked it.
    pub revoked_by: Option<String>,
}

/// Registers a key, unless it is registered already. Follow with [`key_by_public_key`] to learn which.
pub fn add_key(id: &RecordId, name: &str, public_key: &str, at: UnixMillis, by: &str) -> Statement {
    Statement {
        name: "firmware_key_add",
        sql: "/* firmware_key_add */
            INSERT INTO firmware_keys (key_id, name, public_key, created_at, created_by)
            VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (public_key) DO NOTHING",
        params: vec![id.as_str().into(), name.into(), public_key.into(), at.into(), by.into()],
    }
}

/// The [`Key`] of those digits.
pub fn key_by_public_key(public_key: &str) -> Statement {
    Statement {
        name: "firmware_key_by_public_key",
        sql: "/* firmware_key_by_public_key */
            SELECT key_id, name, public_key, created_at, created_by, revoked_at, revoked_by
            FROM firmware_keys WHERE public_key = ?1",
        params: vec![public_key.into()],
    }
}

/// The [`Key`] of that id.
pub fn key_by_id(key_id: &str) -> Statement {
    Statement {
        name: "firmware_key_by_id",
        sql: "/* firmware_key_by_id */
            SELECT key_id, name, public_key, created_at, created_by, revoked_at, revoked_by
            FROM firmware_keys WHERE key_id = ?1",
        params: vec![key_id.into()],
    }
}

/// A page of [`Key`]s, newest first.
pub fn keys(page: &PageRequest) -> Statement {
    Statement {
        name: "firmware_keys",
        sql: "/* firmware_keys */
            SELECT key_id, name, public_key, created_at, created_by, revoked_at, revoked_by
            FROM firmware_keys WHERE key_id < ?1 ORDER BY key_id DESC LIMIT ?2",
        params: vec![before(page), page.rows().into()],
    }
}

/// Revokes a key; one that is revoked already stays as it was.
pub fn revoke_key(key_id: &str, at: UnixMillis, by: &str) -> Statement {
    Statement {
        name: "firmware_key_revoke",
        sql: "/* firmware_key_revoke */
            UPDATE firmware_keys SET revoked_at = ?2, revoked_by = ?3
            WHERE key_id = ?1 AND revoked_at IS NULL",
        params: vec![key_id.into(), at.into(), by.into()],
    }
}

/// What an artifact is called.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactName {
    /// For which variant it is.
    pub sku: Sku,
    /// Its version.
    pub version: FirmwareVersion,
}

/// The [`ArtifactName`]s of what a key signed.
pub fn signed_with(key_id: &str) -> Statement {
    Statement {
        name: "firmware_signed_with",
        sql: "/* firmware_signed_with */
            SELECT sku, version FROM firmware_artifacts WHERE key_id = ?1 ORDER BY sku, version",
        params: vec![key_id.into()],
    }
}

/// An artifact to be registered. Its bytes are in R2 already.
#[derive(Clone, Debug)]
pub struct NewArtifact<'a> {
    /// `fwa-…`.
    pub id: RecordId,
    /// For which variant.
    pub sku: Sku,
    /// Its version.
    pub version: &'a FirmwareVersion,
    /// SHA-256 of the whole file, lower-case hex.
    pub sha256: &'a str,
    /// Bytes of the whole file.
    pub size: u64,
    /// What the running image calls itself, lower-case hex.
    pub elf_sha256: &'a str,
    /// The anti-rollback counter.
    pub fw_version: u32,
    /// The name of the project that it was built from.
    pub project_name: &'a str,
    /// When it was built.
    pub built_at: UnixMillis,
    /// The key that signed it.
    pub key_id: &'a str,
    /// When it was uploaded.
    pub at: UnixMillis,
    /// Who uploaded it.
    pub by: &'a str,
}

/// The R2 key of an artifact's bytes. It names its content, so it never has to be written twice.
pub fn file(sku: Sku, version: &str, sha256: &str) -> String {
    format!("{sku}/{version}/{sha256}.bin")
}

/// Registers an artifact, unless there is one of that name, or its key was revoked in the meantime. Follow with
/// [`artifact`] to learn what is there.
pub fn add_artifact(artifact: &NewArtifact<'_>) -> Statement {
    Statement {
        name: "firmware_add",
        sql: "/* firmware_add */
            INSERT INTO firmware_artifacts (sku, version, artifact_id, sha256, size, elf_sha256, fw_version,
              project_name, built_at, key_id, uploaded_at, uploaded_by)
            SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, key_id, ?11, ?12
            FROM firmware_keys WHERE key_id = ?10 AND revoked_at IS NULL
            ON CONFLICT (sku, version) DO NOTHING",
        params: vec![
            artifact.sku.as_str().into(),
            artifact.version.as_str().into(),
            artifact.id.as_str().into(),
            artifact.sha256.into(),
            i64::try_from(artifact.size).unwrap_or(i64::MAX).into(),
            artifact.elf_sha256.into(),
            artifact.fw_version.into(),
            artifact.project_name.into(),
            artifact.built_at.into(),
            artifact.key_id.into(),
            artifact.at.into(),
            artifact.by.into(),
        ],
    }
}

/// Whether devices may be sent an artifact.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "ArtifactStatus"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// They may.
    Usable,
    /// An operator has withdrawn it.
    Yanked,
    /// The key that signed it was revoked.
    RevokedKey,
}

/// An artifact with who signed it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Artifact {
    /// For which variant.
    pub sku: Sku,
    /// Its version.
    pub version: FirmwareVersion,
    /// `fwa-…`.
    pub artifact_id: String,
    /// SHA-256 of the whole file, lower-case hex.
    pub sha256: String,
    /// Bytes of the whole file.
    pub size: u64,
    /// What the running image calls itself, lower-case hex.
    pub elf_sha256: String,
    /// The anti-rollback counter.
    pub fw_version: u32,
    /// The name of the project that it was built from.
    pub project_name: String,
    /// When it was built, as its signature block says.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub built_at: UnixMillis,
    /// The key that signed it.
    pub key_id: String,
    /// That key's name.
    pub key_name: String,
    /// Since when that key is not good any more.
    #[serde(deserialize_with = "as_optional_millis::deserialize")]
    pub key_revoked_at: Option<UnixMillis>,
    /// When it was uploaded.
    #[serde(deserialize_with = "as_millis::deserialize")]
    pub uploaded_at: UnixMillis,
    /// Who uploaded it.
    pub uploaded_by: String,
    /// Since when it is withdrawn.
    #[serde(deserialize_with = "as_optional_millis::deserialize")]
    pub yanked_at: Option<UnixMillis>,
    /// Who withdrew it.
    pub yanked_by: Option<String>,
    /// Why.
    pub yank_reason: Option<String>,
}

impl Artifact {
    /// Whether devices may be sent it.
    pub fn standing(&self) -> Standing {
        match (self.yanked_at, self.key_revoked_at) {
            (Some(_), _) => Standing::Yanked,
            (None, Some(_)) => Standing::RevokedKey,
            (None, None) => Standing::Usable,
        }
    }
}

impl Serialize for Artifact {
    /// As operators see it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Signer<'a> {
            key_id: &'a str,
            name: &'a str,
        }
        let mut object = serializer.serialize_struct("Artifact", 15)?;
        object.serialize_field("sku", &self.sku)?;
        object.serialize_field("version", &self.version)?;
        object.serialize_field("artifact_id", &self.artifact_id)?;
        object.serialize_field("status", &self.standing())?;
        object.serialize_field("size", &self.size)?;
        object.serialize_field("sha256", &self.sha256)?;
        object.serialize_field("elf_sha256", &self.elf_sha256)?;
        object.serialize_field("fw_version", &self.fw_version)?;
        object.serialize_field("project_name", &self.project_name)?;
        object.serialize_field("built_at", &self.built_at)?;
        object.serialize_field("signer", &Signer { key_id: &self.key_id, name: &self.key_name })?;
        object.serialize_field("uploaded_at", &self.uploaded_at)?;
        object.serialize_field("uploaded_by", &self.uploaded_by)?;
        object.serialize_field("yanked_at", &self.yanked_at)?;
        object.serialize_field("yanked_by", &self.yanked_by)?;
        object.serialize_field("yank_reason", &self.yank_reason)?;
        object.end()
    }
}

/// What an [`Artifact`] is written as.
#[cfg(feature = "schema")]
#[derive(schemars::JsonSchema)]
#[schemars(rename = "Artifact")]
#[expect(dead_code, reason = "it describes, and is never made")]
struct ArtifactShown {
    /// For which variant.
    sku: Sku,
    /// Its version.
    version: FirmwareVersion,
    /// `fwa-…`.
    artifact_id: String,
    /// Whether devices may be sent it.
    status: Standing,
    /// Bytes of the whole file.
    size: u64,
    /// SHA-256 of the whole file, lower-case hex.
    sha256: String,
    /// What the running image calls itself, lower-case hex.
    elf_sha256: String,
    /// The anti-rollback counter.
    fw_version: u32,
    /// The name of the project that it was built from.
    project_name: String,
    /// When it was built, as its signature block says.
    built_at: UnixMillis,
    /// The key that signed it.
    signer: Signer,
    /// When it was uploaded.
    uploaded_at: UnixMillis,
    /// Who uploaded it.
    uploaded_by: String,
    /// Since when it is withdrawn.
    yanked_at: Option<UnixMillis>,
    /// Who withdrew it.
    yanked_by: Option<String>,
    /// Why.
    yank_reason: Option<String>,
}

/// Who signed an [`Artifact`].
#[cfg(feature = "schema")]
#[derive(schemars::JsonSchema)]
#[expect(dead_code, reason = "it describes, and is never made")]
struct Signer {
    /// `fwk-…`.
    key_id: String,
    /// What people call the key.
    name: String,
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Artifact {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        ArtifactShown::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        ArtifactShown::json_schema(generator)
    }
}

/// The [`Artifact`] of that name.
pub fn artifact(sku: Sku, version: &FirmwareVersion) -> Statement {
    Statement {
        name: "firmware_artifact",
        sql: "/* firmware_artifact */
            SELECT sku, version, artifact_id, sha256, size, elf_sha256, fw_version, project_name, built_at,
              key_id, name AS key_name, revoked_at AS key_revoked_at,
              uploaded_at, uploaded_by, yanked_at, yanked_by, yank_reason
            FROM firmware_artifacts JOIN firmware_keys USING (key_id) WHERE sku = ?1 AND version = ?2",
        params: vec![sku.as_str().into(), version.as_str().into()],
    }
}

/// A page of [`Artifact`]s, newest first.
pub fn artifacts(page: &PageRequest) -> Statement {
    Statement {
        name: "firmware_artifacts",
        sql: "/* firmware_artifacts */
            SELECT sku, version, artifact_id, sha256, size, elf_sha256, fw_version, project_name, built_at,
              key_id, name AS key_name, revoked_at AS key_revoked_at,
              uploaded_at, uploaded_by, yanked_at, yanked_by, yank_reason
            FROM firmware_artifacts JOIN firmware_keys USING (key_id)
            WHERE artifact_id < ?1 ORDER BY artifact_id DESC LIMIT ?2",
        params: vec![before(page), page.rows().into()],
    }
}

/// A page of the [`Artifact`]s of one variant, newest first.
pub fn artifacts_of(sku: Sku, page: &PageRequest) -> Statement {
    Statement {
        name: "firmware_artifacts_of",
        sql: "/* firmware_artifacts_of */
            SELECT sku, version, artifact_id, sha256, size, elf_sha256, fw_version, project_name, built_at,
              key_id, name AS key_name, revoked_at AS key_revoked_at,
              uploaded_at, uploaded_by, yanked_at, yanked_by, yank_reason
            FROM firmware_artifacts JOIN firmware_keys USING (key_id)
            WHERE sku = ?3 AND artifact_id < ?1 ORDER BY artifact_id DESC LIMIT ?2",
        params: vec![before(page), page.rows().into(), sku.as_str().into()],
    }
}

/// Withdraws an artifact; one that is withdrawn already stays as it was.
pub fn yank(sku: Sku, version: &FirmwareVersion, reason: &str, at: UnixMillis, by: &str) -> Statement {
    Statement {
        name: "firmware_yank",
        sql: "/* firmware_yank */
            UPDATE firmware_artifacts SET yanked_at = ?3, yanked_by = ?4, yank_reason = ?5
            WHERE sku = ?1 AND version = ?2 AND yanked_at IS NULL",
        params: vec![sku.as_str().into(), version.as_str().into(), at.into(), by.into(), reason.into()],
    }
}

/// All that decides whether a device may download an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Permit {
    /// SHA-256 of the whole file, lower-case hex.
    pub sha256: String,
    /// Bytes of the whole file.
    pub size: u64,
    /// Since when it is withdrawn.
    #[serde(deserialize_with = "as_optional_millis::deserialize")]
    pub yanked_at: Option<UnixMillis>,
    /// Since when the key that signed it is not good any more.
    #[serde(deserialize_with = "as_optional_millis::deserialize")]
    pub key_revoked_at: Option<UnixMillis>,
    /// The status of the rollout, if it is one of this artifact: `STAGED`.
    pub status: Option<String>,
    /// The state of the device in it: `downloading`.
    pub state: Option<String>,
    /// Its attempt in it.
    pub attempt: Option<u32>,
    /// How many downloads it began in this rollout.
    pub begun: u32,
    /// When it was first refused another.
    #[serde(deserialize_with = "as_optional_millis::deserialize")]
    pub refused_at: Option<UnixMillis>,
}

/// The [`Permit`] of a device to download an artifact in a rollout; no row if there is no such artifact.
pub fn permit(sku: Sku, version: &FirmwareVersion, rollout: &str, device: &DeviceId) -> Statement {
    Statement {
        name: "firmware_permit",
        sql: "/* firmware_permit */
            SELECT artifact.sha256, size, yanked_at, revoked_at AS key_revoked_at, rollouts.status, state, attempt,
              coalesce(attempts, 0) AS begun, refused_at
            FROM firmware_artifacts AS artifact JOIN firmware_keys USING (key_id)
            LEFT JOIN rollouts ON rollouts.rollout_id = ?3
              AND rollouts.sku = artifact.sku AND rollouts.version = artifact.version
            LEFT JOIN rollout_devices AS member
              ON member.rollout_id = rollouts.rollout_id AND member.device_id = ?4
            LEFT JOIN firmware_downloads AS download ON download.device_id = ?4
              AND download.sku = artifact.sku AND download.version = artifact.version
              AND download.rollout_id = ?3
            WHERE artifact.sku = ?1 AND artifact.version = ?2",
        params: vec![sku.as_str().into(), version.as_str().into(), rollout.into(), device.as_str().into()],
    }
}

/// Counts the beginning of a download, unless the device has begun as many as `limit` in this rollout. One row
/// changes if it was counted, none if there were too many.
pub fn begin_download(
    device: &DeviceId,
    sku: Sku,
    version: &FirmwareVersion,
    rollout: &str,
    limit: u32,
    at: UnixMillis,
) -> Statement {
    Statement {
        name: "firmware_download_begin",
        sql: "/* firmware_download_begin */
            INSERT INTO firmware_downloads (device_id, sku, version, rollout_id, attempts, began_at)
            VALUES (?1, ?2, ?3, ?4, 1, ?6)
            ON CONFLICT (device_id, sku, version) DO UPDATE SET
              attempts = CASE WHEN rollout_id = excluded.rollout_id THEN attempts + 1 ELSE 1 END,
              refused_at = CASE WHEN rollout_id = excluded.rollout_id THEN refused_at END,
              rollout_id = excluded.rollout_id,
              began_at = excluded.began_at
            WHERE rollout_id <> excluded.rollout_id OR attempts < ?5",
        params: vec![
            device.as_str().into(),
            sku.as_str().into(),
            version.as_str().into(),
            rollout.into(),
            limit.into(),
            at.into(),
        ],
    }
}

/// Notes that the engine was told of a refusal, so that a device in a loop does not tell it again and again.
pub fn note_refusal(device: &DeviceId, sku: Sku, version: &FirmwareVersion, at: UnixMillis) -> Statement {
    Statement {
        name: "firmware_download_refused",
        sql: "/* firmware_download_refused */
            UPDATE firmware_downloads SET refused_at = ?4
            WHERE device_id = ?1 AND sku = ?2 AND version = ?3 AND refused_at IS NULL",
        params: vec![device.as_str().into(), sku.as_str().into(), version.as_str().into(), at.into()],
    }
}

/// An artifact whose bytes are to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ToCheck {
    /// `fwa-…`.
    pub artifact_id: String,
    /// For which variant.
    pub sku: Sku,
    /// Its version.
    pub version: String,
    /// SHA-256 that was recorded when it came, lower-case hex.
    pub sha256: String,
    /// Bytes that it had then.
    pub size: u64,
}

/// The [`ToCheck`]s whose bytes were never looked at since they came.
pub fn never_checked(limit: u32) -> Statement {
    Statement {
        name: "firmware_never_checked",
        sql: "/* firmware_never_checked */
            SELECT artifact_id, sku, version, sha256, size FROM firmware_artifacts
            WHERE artifact_id NOT IN (SELECT artifact_id FROM firmware_checks) ORDER BY artifact_id LIMIT ?1",
        params: vec![limit.into()],
    }
}

/// The [`ToCheck`]s that were last looked at before a time, first the one that waits longest.
pub fn checked_before(before: UnixMillis, limit: u32) -> Statement {
    Statement {
        name: "firmware_checked_before",
        sql: "/* firmware_checked_before */
            SELECT artifact_id, sku, version, sha256, size
            FROM firmware_checks JOIN firmware_artifacts USING (artifact_id)
            WHERE checked_at < ?1 ORDER BY checked_at LIMIT ?2",
        params: vec![before.into(), limit.into()],
    }
}

/// The [`ToCheck`]s that were found faulty: somebody may have mended them.
pub fn faulty(limit: u32) -> Statement {
    Statement {
        name: "firmware_faulty",
        sql: "/* firmware_faulty */
            SELECT artifact_id, sku, version, sha256, size
            FROM firmware_checks JOIN firmware_artifacts USING (artifact_id)
            WHERE fault IS NOT NULL ORDER BY artifact_id LIMIT ?1",
        params: vec![limit.into()],
    }
}

/// Notes that an artifact's bytes were looked at, and what is wrong with them.
pub fn note_check(artifact_id: &str, fault: Option<&str>, at: UnixMillis) -> Statement {
    Statement {
        name: "firmware_note_check",
        sql: "/* firmware_note_check */
            INSERT INTO firmware_checks (artifact_id, checked_at, fault) VALUES (?1, ?2, ?3)
            ON CONFLICT (artifact_id) DO UPDATE SET checked_at = excluded.checked_at, fault = excluded.fault",
        params: vec![artifact_id.into(), at.into(), fault.into()],
    }
}

/// How long artifacts have waited to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct CheckState {
    /// When the one was looked at that waits longest.
    #[serde(deserialize_with = "as_optional_millis::deserialize")]
    pub oldest_at: Option<UnixMillis>,
    /// When the one came that waits longest for its first look.
    #[serde(deserialize_with = "as_optional_millis::deserialize")]
    pub waiting_since: Option<UnixMillis>,
}

/// The [`CheckState`].
pub fn check_state() -> Statement {
    Statement {
        name: "firmware_check_state",
        sql: "/* firmware_check_state */
            SELECT (SELECT min(checked_at) FROM firmware_checks) AS oldest_at,
              (SELECT uploaded_at FROM firmware_artifacts
               WHERE artifact_id NOT IN (SELECT artifact_id FROM firmware_checks)
               ORDER BY artifact_id LIMIT 1) AS waiting_since",
        params: Vec::new(),
    }
}

/// An artifact whose bytes are not what came.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Faulty {
    /// For which variant.
    pub sku: Sku,
    /// Its version.
    pub version: String,
    /// What is wrong.
    pub fault: String,
}

/// The [`Faulty`] ones.
pub fn faults(limit: u32) -> Statement {
    Statement {
        name: "firmware_faults",
        sql: "/* firmware_faults */
            SELECT sku, version, fault FROM firmware_checks JOIN firmware_artifacts USING (artifact_id)
            WHERE fault IS NOT NULL ORDER BY artifact_id LIMIT ?1",
        params: vec![limit.into()],
    }
}

/// Pages run from the newest id down; `~` sorts behind every id.
fn before(page: &PageRequest) -> rs1_domain::port::Param {
    page.after.as_deref().unwrap_or("~").into()
}

#[cfg(all(test, feature = "schema"))]
mod tests {
    use schemars::{JsonSchema, SchemaGenerator};
    use serde_json::json;

    use super::*;

    #[test]
    fn an_artifact_is_described_as_it_is_written() {
        let row = json!({
            "sku": "rs1_pro", "version": "1.2.0", "artifact_id": "fwa-1", "sha256": "5f", "size": 1, "elf_sha256": "a7",
            "fw_version": 7, "project_name": "rs1", "built_at": 0, "key_id": "fwk-1", "key_name": "release",
            "key_revoked_at": null, "uploaded_at": 0, "uploaded_by": "", "yanked_at": null, "yanked_by": null,
            "yank_reason": null,
        });
        let artifact: Artifact = serde_json::from_value(row).unwrap();
        let written = serde_json::to_value(&artifact).unwrap();
        let described = Artifact::json_schema(&mut SchemaGenerator::default()).to_value();
        let names =
            |object: &serde_json::Value| object.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&written), names(&described["properties"]));
    }
}
