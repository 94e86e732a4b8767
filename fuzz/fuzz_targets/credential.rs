//! The credential parser: whatever a client presents, only the right password of the right hour is
//! admitted, and nothing panics.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rs1_auth::credential::{Attempt, DeviceKey, Password, Vault};
use rs1_auth::access_token::AccessTokens;
use rs1_auth::jwt::KeySet;
use rs1_auth::refresh_token::RefreshToken;
use rs1_auth::{oidc, operator};
use rs1_domain::wire::admission::Authentication;
use rs1_domain::{DeviceId, UnixMillis, hex};

const ID: &str = "3e32e97b9d6cf5e193d3a3a7e8fd9a97";
const HASH: &str = "630dcd2966c4336691125448bbb25b4ff412a49c732db2c8abc1b8581bd710dd";
const NOW: UnixMillis = UnixMillis(1_768_903_200_000);

struct Known {
    vault: Vault,
    sealed: String,
    good: [[u8; 32]; 2],
}

static KNOWN: LazyLock<Known> = LazyLock::new(|| {
    let vault = Vault::new(&"5a".repeat(32), None).expect("a key-encryption key");
    let device = DeviceId::parse(ID).expect("a device id");
    let key = DeviceKey::parse(HASH).expect("a key");
    let sealed = vault.seal(&key, &device, [7; 12]).expect("it seals");
    let good = [0, 1].map(|back| key.password(&device, NOW.hour() - back));
    Known { vault, sealed, good }
});

fuzz_target!(|body: &[u8]| {
    let known = &*KNOWN;
    if let Ok(text) = std::str::from_utf8(body) {
        let _ = (Password::parse(text), KeySet::parse(text), RefreshToken::parse(text));
        let _ = operator::Token::parse(text, operator::ALGORITHMS).err();
        let _ = oidc::Token::parse(text, oidc::ALGORITHMS).err();
        assert!(AccessTokens::new("secret", Some("before")).verify(text, NOW).is_err(), "a forged token is good");
        if text != known.sealed {
            let device = DeviceId::parse(ID).expect("a device id");
            assert!(known.vault.unseal(text, &device).is_err(), "a forged seal opened");
        }
    }
    let Ok(question) = Authentication::read(body) else { return };
    let Ok(attempt) = Attempt::read(&question) else { return };
    assert_eq!(attempt.device.as_str(), &*question.username);
    assert!(question.clientid.starts_with(attempt.device.as_str()));
    let sealed = (attempt.device.as_str() == ID).then_some(known.sealed.as_str());
    let refusal = attempt.judge(&known.vault, sealed, NOW).expect("the stored key opens");
    let is_good = known.good.iter().any(|good| {
        hex::decode::<32>(&question.password).as_ref() == Some(good) || question.password == base64(good)
    });
    assert_eq!(refusal.is_none(), is_good && sealed.is_some(), "{refusal:?} for {:?}", question.password);
});

/// Standard padded Base64, written plainly so that it does not share the parser's code.
fn base64(bytes: &[u8; 32]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let value = group.iter().fold(0_u32, |value, byte| (value << 8) | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let sign = ALPHABET[((value >> (18 - 6 * place)) & 63) as usize] as char;
            text.push(if place > group.len() { '=' } else { sign });
        }
    }
    text
}
