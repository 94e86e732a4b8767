//! The command itself.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::stack::production;

fn broker(config: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rs1-broker"));
    command
        .arg("--config")
        .arg(config)
        .args(["--api-key", "key", "--api-secret", "secret"])
        .args(["--origin", "https://api.optic.works=http://127.0.0.1:9"])
        .env("WEBHOOK_SECRET", "s3cr3t")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

fn production_file() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../emqx/emqx.conf")
}

async fn first_line(child: &mut Child) -> String {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = tokio::time::timeout(Duration::from_secs(10), lines.next_line()).await.expect("a line");
    line.unwrap().unwrap_or_default()
}

/// Waits for the end; returns the exit code and what was said on stderr.
async fn end(mut child: Child) -> (Option<i32>, String) {
    let mut said = String::new();
    let waiting = async {
        child.stderr.take().unwrap().read_to_string(&mut said).await.unwrap();
        child.wait().await.unwrap().code()
    };
    (tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("an end"), said)
}

#[tokio::test]
async fn it_says_when_it_is_ready_and_ends_when_it_is_told() {
    let mut child =
        broker(&production_file()).args(["--mqtt", "127.0.0.1:0", "--api", "127.0.0.1:0"]).spawn().unwrap();
    let ready = first_line(&mut child).await;
    let address =
        ready.strip_prefix("ready mqtt://").and_then(|rest| rest.split(' ').next()).unwrap().to_owned();
    tokio::net::TcpStream::connect(&address).await.unwrap();

    let taken =
        broker(&production_file()).args(["--mqtt", &address, "--api", "127.0.0.1:0"]).spawn().unwrap();
    let (code, said) = end(taken).await;
    assert_eq!(code, Some(1));
    assert!(said.contains(&format!("cannot listen for MQTT on {address}")), "{said}");

    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").arg(&pid).status().await.unwrap().success());
    assert_eq!(end(child).await.0, Some(0));
}

#[tokio::test]
async fn every_fault_of_the_configuration_is_told_with_its_line() {
    let directory = std::env::temp_dir().join(format!("rs1-broker-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("emqx.conf");
    let text = production()
        .replace("no_match = deny", "no_match = maybe")
        .replace("pool_type = hash", "pool = hash");
    std::fs::write(&file, &text).unwrap();
    let (code, said) = end(broker(&file).spawn().unwrap()).await;
    std::fs::remove_dir_all(&directory).unwrap();
    assert_eq!(code, Some(1));
    for (setting, complaint) in [
        ("no_match = maybe", "authorization.no_match is \"maybe\", expected allow or deny"),
        ("pool = hash", "connectors.http.optic.pool is not understood by this broker"),
    ] {
        let line = text.lines().position(|line| line.trim() == setting).unwrap() + 1;
        let expected = format!("{}:{line}: {complaint}", file.display());
        assert!(said.contains(&expected), "{expected}\nnot in\n{said}");
    }
}
