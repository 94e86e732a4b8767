//! Uploads, and what becomes of artifacts, on real SQL and a bucket in memory.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pollster::block_on;
use rs1_domain::security::{SecurityKind, Severity};
use rs1_domain::time::SECOND;
use rs1_domain::{Answer, Method, hex};
use rs1_store::native::Failure;
use rs1_store::security::{self, SecurityRow, Wanted};
use rs1_store::sql::{rows, run};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::common::image::{Signer, unsigned};
use crate::common::{Cloud, NOW, authorized, body, faults};

const PRO: &str = "rs1_pro/1.2.0";

/// A cloud that trusts signer 1.
fn cloud() -> (Cloud, Signer) {
    let (cloud, signer) = (Cloud::new(), Signer::number(1));
    cloud.register(&signer);
    (cloud, signer)
}

fn security_log(cloud: &Cloud, kind: SecurityKind) -> Vec<SecurityRow> {
    let wanted = Wanted { kinds: Some(vec![kind]), rows: 10, ..Wanted::default() };
    let [outcome] = block_on(run(&cloud.db, [security::list(&wanted).unwrap()])).unwrap();
    rows(&outcome).unwrap()
}

fn refused(answer: &Answer, pointers: &[&str]) {
    assert_eq!((answer.status, faults(answer)), (422, pointers.iter().map(|&it| it.to_owned()).collect()));
}

#[test]
fn an_image_becomes_an_artifact_once_and_the_same_bytes_are_the_same_artifact() {
    let (cloud, signer) = cloud();
    let image = signer.image("1.2.0");
    let first = cloud.upload(PRO, &image);
    assert_eq!(first.status, 201, "{}", first.body);
    let artifact = body(&first);
    let sha256 = hex::encode(&Sha256::digest(&image));
    assert_eq!(artifact["sha256"], sha256);
    assert_eq!((&artifact["size"], &artifact["fw_version"]), (&json!(image.len()), &json!(7)));
    assert_eq!(artifact["elf_sha256"], "ef".repeat(32));
    assert_eq!(artifact["built_at"], "2026-01-20T09:06:40Z");
    assert_eq!(artifact["signer"]["name"], "ci");
    assert_eq!(
        (&artifact["status"], &artifact["uploaded_by"]),
        (&json!("usable"), &json!("ada@optic.works"))
    );
    cloud.now.set(NOW.plus(SECOND));
    let again = cloud.upload(PRO, &image);
    assert_eq!((again.status, &again.body), (200, &first.body));
    let other = signer.sign(&unsigned("1.2.0", 1));
    assert_eq!(cloud.upload(PRO, &other).status, 409);
    assert_eq!(body(&cloud.get("/admin/firmware/rs1_pro/1.2.0")), artifact, "it stays what it is");
    assert_eq!(cloud.files.keys(), [format!("rs1_pro/1.2.0/{sha256}.bin")]);
    assert_eq!(cloud.upload("rs1_lite/1.2.0", &other).status, 201, "another variant has its own versions");
}

#[test]
fn each_kind_of_bad_image_is_refused_by_name_and_leaves_nothing() {
    let (cloud, signer) = cloud();
    let good = signer.image("1.2.0");
    let stranger = Signer::number(2);
    let block = good.len() - 240;
    let flipped = |at: usize| {
        let mut image = good.clone();
        image[at] ^= 1;
        image
    };
    // The stranger's block with the trusted key in it: the hash of the block is right, the signature is not.
    let mut posing = stranger.image("1.2.0");
    posing[block + 104..block + 168].copy_from_slice(&signer.public());
    let hash = Sha256::digest(&posing[block..block + 208]);
    posing[block + 208..].copy_from_slice(&hash);
    for (image, pointers) in [
        (good[..100].to_vec(), vec!["/size"]),
        (good[..good.len() - 1].to_vec(), vec!["/signature_block/magic"]),
        (unsigned("1.2.0", 0), vec!["/signature_block/magic"]),
        (signer.image("1.2.1"), vec!["/app_desc/version"]),
        (stranger.image("1.2.0"), vec!["/signature_block/public_key"]),
        (posing, vec!["/signature_block/signature"]),
        (flipped(600), vec!["/signature_block/fw_hash"]),
        (flipped(block + 40), vec!["/signature_block/block_hash", "/signature_block/signature"]),
        (flipped(block + 104), vec!["/signature_block/block_hash", "/signature_block/public_key"]),
    ] {
        refused(&cloud.upload(PRO, &image), &pointers);
    }
    let mut worst = signer.sign(&[&[0; 0x24][..], &unsigned("1.3.0", 0)[0x24..]].concat());
    let last = worst.len() - 1;
    worst[last] ^= 1;
    refused(
        &cloud.upload(PRO, &worst),
        &["/header/magic", "/app_desc/magic_word", "/signature_block/block_hash"],
    );
    assert_eq!(body(&cloud.get("/admin/firmware"))["items"], json!([]));
    assert_eq!(cloud.files.keys(), [""; 0]);
    let logged = security_log(&cloud, SecurityKind::FirmwareRejected);
    assert_eq!(logged.len(), 1, "one burst, one row: {logged:?}");
    let SecurityRow { severity, subject, count, detail, .. } = &logged[0];
    assert_eq!((*severity, subject.as_str(), *count), (Severity::High, "ada@optic.works", 10));
    assert_eq!(*detail, json!({"path": "/admin/firmware/rs1_pro/1.2.0", "faults": ["/size"]}));
}

#[test]
fn what_is_not_sent_as_it_should_be_is_refused_without_being_read() {
    let (cloud, signer) = cloud();
    let image = signer.image("1.2.0");
    let with = |headers: &[(&'static str, &str)]| cloud.upload_with(PRO, &image, headers).status;
    let mut request = cloud.request(Method::Put, "/admin/firmware/rs1_pro/1.2.0", image.clone());
    request.headers = authorized();
    assert_eq!(cloud.send(request).status, 411, "no length");
    assert_eq!(with(&[("content-length", "16777217")]), 413);
    assert_eq!(with(&[("content-type", "multipart/form-data; boundary=x")]), 415);
    assert_eq!(with(&[("content-encoding", "gzip")]), 415);
    assert_eq!(with(&[("content-length", "1000")]), 400, "it has another length than it said");
    refused(&cloud.upload("rs1_max/1.2", &image), &["/sku", "/version"]);
    refused(&cloud.upload("rs1_pro/1.2.0?dry=1", &image), &["?"]);
    refused(&cloud.upload(PRO, &[]), &["/size"]);
    assert_eq!(cloud.files.keys(), [""; 0]);
    assert_eq!(with(&[("content-type", "application/octet-stream"), ("content-encoding", "identity")]), 201);
}

#[test]
fn a_digest_that_is_sent_along_is_checked() {
    let (cloud, signer) = cloud();
    let image = signer.image("1.2.0");
    let digest = |bytes: &[u8]| format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(bytes)));
    for bad in [digest(b"another"), "sha-256=:!:".into(), "md5=:AAAA:".into()] {
        refused(&cloud.upload_with(PRO, &image, &[("repr-digest", &bad)]), &["Repr-Digest"]);
    }
    assert_eq!(cloud.files.keys(), [""; 0]);
    assert_eq!(cloud.upload_with(PRO, &image, &[("repr-digest", &digest(&image))]).status, 201);
    refused(&cloud.upload_with(PRO, &image, &[("repr-digest", &digest(b"x"))]), &["Repr-Digest"]);
}

#[test]
fn an_upload_that_fails_at_any_step_can_be_repeated() {
    let signer = Signer::number(1);
    let image = signer.image("1.2.0");
    for failure in [Failure::BeforeCommit, Failure::AfterCommit] {
        for step in ["receive", "publish"] {
            let (cloud, _) = cloud();
            cloud.files.fail(step, Some(failure));
            assert_eq!(cloud.upload(PRO, &image).status, 503, "{step} {failure:?}");
            assert_eq!(cloud.get("/admin/firmware/rs1_pro/1.2.0").status, 404, "nobody can see it");
            cloud.files.fail(step, None);
            assert_eq!(cloud.upload(PRO, &image).status, 201, "{step} {failure:?}");
        }
        for (statement, then) in [("firmware_artifact", 201), ("firmware_add", 201)] {
            let (cloud, _) = cloud();
            cloud.db.fail_statement(statement, Some(failure));
            assert_eq!(cloud.upload(PRO, &image).status, 503, "{statement} {failure:?}");
            cloud.db.fail(None);
            let written = statement == "firmware_add" && failure == Failure::AfterCommit;
            let expected = if written { 200 } else { then };
            assert_eq!(cloud.upload(PRO, &image).status, expected, "{statement} {failure:?}");
        }
    }
    let (cloud, _) = cloud();
    cloud.files.fail("delete", Some(Failure::BeforeCommit));
    let answer = cloud.upload(PRO, &image);
    assert_eq!(answer.status, 201, "what is left over harms nobody");
    assert!(answer.log.is_some(), "and is noted");
}

#[test]
fn a_key_that_is_revoked_takes_what_it_signed_along() {
    let (cloud, signer) = cloud();
    let image = signer.image("1.2.0");
    cloud.upload(PRO, &image);
    cloud.upload("rs1_lite/1.2.0", &image);
    let keys = body(&cloud.get("/admin/firmware-keys"));
    let answer =
        cloud.delete(&format!("/admin/firmware-keys/{}", keys["items"][0]["key_id"].as_str().unwrap()));
    assert_eq!(
        body(&answer)["artifacts"],
        json!([{"sku": "rs1_lite", "version": "1.2.0"}, {"sku": "rs1_pro", "version": "1.2.0"}])
    );
    assert_eq!(body(&cloud.get("/admin/firmware/rs1_pro/1.2.0"))["status"], "revoked_key");
    refused(&cloud.upload("rs1_pro/1.3.0", &signer.image("1.3.0")), &["/signature_block/public_key"]);
    assert_eq!(cloud.upload(PRO, &image).status, 200, "the same bytes are still the same artifact");
    let other = Signer::number(2);
    cloud.register(&other);
    assert_eq!(cloud.upload(PRO, &other.sign(&unsigned("1.2.0", 0))).status, 409, "and its version is taken");
}

#[test]
fn a_yanked_artifact_stays_yanked_for_the_first_reason() {
    let (cloud, signer) = cloud();
    cloud.upload(PRO, &signer.image("1.2.0"));
    let path = "/admin/firmware/rs1_pro/1.2.0/yank";
    for bad in [
        json!({}),
        json!({"reason": " "}),
        json!({"reason": "x".repeat(501)}),
        json!({"reason": "x", "by": "me"}),
    ] {
        assert_eq!(cloud.post(path, &bad).status, 422, "{bad}");
    }
    let yanked = body(&cloud.post(path, &json!({"reason": "boots into a loop"})));
    assert_eq!(
        (&yanked["status"], &yanked["yank_reason"], &yanked["yanked_by"]),
        (&json!("yanked"), &json!("boots into a loop"), &json!("ada@optic.works"))
    );
    cloud.now.set(NOW.plus(SECOND));
    assert_eq!(body(&cloud.post(path, &json!({"reason": "again"}))), yanked);
    assert_eq!(cloud.post("/admin/firmware/rs1_pro/9.9.9/yank", &json!({"reason": "x"})).status, 404);
    assert_eq!(cloud.post("/admin/firmware/rs1_max/1.2.0/yank", &json!({"reason": "x"})).status, 404);
}

#[test]
fn artifacts_are_listed_newest_first_and_by_variant() {
    let (cloud, signer) = cloud();
    for (second, (sku, version)) in
        [("rs1_pro", "1.0.0"), ("rs1_lite", "1.0.0"), ("rs1_pro", "1.1.0")].into_iter().enumerate()
    {
        cloud.now.set(NOW.plus(i64::try_from(second).unwrap() * SECOND));
        assert_eq!(cloud.upload(&format!("{sku}/{version}"), &signer.image(version)).status, 201);
    }
    let names = |query: &str| -> (Vec<String>, Option<String>) {
        let page = body(&cloud.get(&format!("/admin/firmware{query}")));
        let name = |item: &serde_json::Value| {
            format!("{} {}", item["sku"].as_str().unwrap(), item["version"].as_str().unwrap())
        };
        let items = page["items"].as_array().unwrap().iter().map(name).collect();
        (items, page["next_cursor"].as_str().map(str::to_owned))
    };
    let (first, cursor) = names("?limit=2");
    assert_eq!(first, ["rs1_pro 1.1.0", "rs1_lite 1.0.0"]);
    assert_eq!(names(&format!("?cursor={}", cursor.unwrap())), (vec!["rs1_pro 1.0.0".into()], None));
    assert_eq!(names("?sku=rs1_lite").0, ["rs1_lite 1.0.0"]);
    for bad in ["?sku=x", "?cursor=1", "?version=1.0.0"] {
        assert_eq!(cloud.get(&format!("/admin/firmware{bad}")).status, 422, "{bad}");
    }
}
