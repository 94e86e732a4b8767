//! The OTA worker's settings.

use rs1_domain::config::BadConfig;
use rs1_worker_ota::config::Config;

#[test]
fn every_setting_that_is_missing_or_bad_is_named() {
    let Err(BadConfig(faults)) = Config::read(&|_| None) else { panic!("nothing is configured") };
    for name in [
        "ENVIRONMENT",
        "OPERATOR_ISSUER",
        "OPERATOR_AUDIENCE",
        "OPERATOR_JWKS_URL",
        "EMQX_API_URL",
        "EMQX_API_KEY",
        "FIRMWARE_ORIGIN",
        "SIGNING_KEY",
    ] {
        assert!(faults.iter().any(|fault| fault.starts_with(&format!("{name} is missing"))), "{name}");
    }
    for (name, value) in [("SIGNING_KEY", "short"), ("DOWNLOAD_ATTEMPTS", "0"), ("DOWNLOAD_ATTEMPTS", "many")]
    {
        let look_up =
            |asked: &str| if asked == name { Some(value.to_owned()) } else { crate::common::setting(asked) };
        let Err(BadConfig(faults)) = Config::read(&look_up) else { panic!("{name}={value} is bad") };
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults.concat().starts_with(name), "{faults:?}");
    }
}

#[test]
fn the_limit_of_download_attempts_may_be_set() {
    assert_eq!(
        Config::read(&crate::common::setting).unwrap_or_else(|faults| panic!("{faults:?}")).download_attempts,
        10
    );
    let look_up = |name: &str| {
        if name == "DOWNLOAD_ATTEMPTS" { Some("3".to_owned()) } else { crate::common::setting(name) }
    };
    let config = Config::read(&look_up).unwrap_or_else(|faults| panic!("{faults:?}"));
    assert_eq!((config.download_attempts, config.origin.as_str()), (3, "https://ota.optic.works"));
}
