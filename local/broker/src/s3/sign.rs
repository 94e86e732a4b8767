//! AWS Signature Version 4 in the `Authorization` header ("Authenticating Requests: Using the Authorization Header", Amazon
//! S3 API Reference).

use std::fmt;

use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// An access key.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Its id, which goes with every request.
    pub access_key_id: String,
    /// Its secret, which never does.
    pub secret_access_key: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

/// What is signed of a request.
#[derive(Debug)]
pub struct Signed<'a> {
    /// `GET`, `PUT` …
    pub method: &'a str,
    /// The path as it is sent: encoded, see [`encode`].
    pub path: &'a str,
    /// The query as it is sent, see [`query`].
    pub query: &'a str,
    /// Every header that is signed: `host` and all of `x-amz-…` must be among them. Names in lower case, in order.
    pub headers: &'a [(&'a str, &'a str)],
    /// SHA-256 of the body, in hex.
    pub payload: &'a str,
}

impl Signed<'_> {
    /// The `Authorization` header. `at` is the `x-amz-date`, such as `20130524T000000Z`.
    pub fn authorization(&self, credentials: &Credentials, region: &str, at: &str) -> String {
        let line = |(name, value): &(&str, &str)| format!("{name}:{}\n", value.trim());
        let headers = self.headers.iter().map(line).collect::<Vec<_>>().concat();
        let names = self.headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let canonical =
            format!("{}\n{}\n{}\n{headers}\n{names}\n{}", self.method, self.path, self.query, self.payload);
        let day = at.split('T').next().unwrap_or(at);
        let scope = format!("{day}/{region}/s3/aws4_request");
        let text = format!("{ALGORITHM}\n{at}\n{scope}\n{}", sha256(canonical.as_bytes()));
        let secret = format!("AWS4{}", credentials.secret_access_key);
        let key = [day, region, "s3", "aws4_request"]
            .iter()
            .fold(secret.into_bytes(), |key, part| mac(&key, part.as_bytes()));
        format!(
            "{ALGORITHM} Credential={}/{scope},SignedHeaders={names},Signature={}",
            credentials.access_key_id,
            hex(&mac(&key, text.as_bytes()))
        )
    }
}

/// SHA-256 of `bytes`, in hex.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// A path in which everything but letters, digits, `-._~` and slashes is encoded.
pub fn encode(path: &str) -> String {
    percent(path, "-._~/")
}

/// A query string of these parameters, in the order in which they are signed: that of their names.
pub fn query(parameters: &[(&str, &str)]) -> String {
    let mut encoded: Vec<String> = parameters
        .iter()
        .map(|(name, value)| format!("{}={}", percent(name, "-._~"), percent(value, "-._~")))
        .collect();
    encoded.sort_unstable();
    encoded.join("&")
}

fn percent(text: &str, plain: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let c = char::from(byte);
        if c.is_ascii_alphanumeric() || plain.contains(c) {
            encoded.push(c);
        } else {
            encoded.push('%');
            encoded.push_str(&hex(&[byte]).to_ascii_uppercase());
        }
    }
    encoded
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    // HMAC takes a key of any length.
    Hmac::<Sha256>::new_from_slice(key)
        .map(|mut mac| {
            mac.update(text);
            mac.finalize().into_bytes().to_vec()
        })
        .unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the Amazon S3 API Reference, "Signature Calculations for the Authorization Header: Transferring Payload in
    /// a Single Chunk".
    const AT: &str = "20130524T000000Z";
    const HOST: (&str, &str) = ("host", "examplebucket.s3.amazonaws.com");
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn signature(signed: &Signed<'_>) -> String {
        let credentials = Credentials {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
        };
        let header = signed.authorization(&credentials, "us-east-1", AT);
        let begin = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=";
        assert!(header.starts_with(begin), "{header}");
        header.rsplit_once("Signature=").unwrap().1.to_owned()
    }

    #[test]
    fn the_published_examples_come_out() {
        let date = ("x-amz-date", AT);
        let hash = ("x-amz-content-sha256", EMPTY);
        let get = signature(&Signed {
            method: "GET",
            path: "/test.txt",
            query: "",
            headers: &[HOST, ("range", "bytes=0-9"), hash, date],
            payload: EMPTY,
        });
        assert_eq!(get, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");

        let payload = sha256(b"Welcome to Amazon S3.");
        let put = signature(&Signed {
            method: "PUT",
            path: &encode("/test$file.text"),
            query: "",
            headers: &[
                ("date", "Fri, 24 May 2013 00:00:00 GMT"),
                HOST,
                ("x-amz-content-sha256", &payload),
                date,
                ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ],
            payload: &payload,
        });
        assert_eq!(put, "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");

        for (parameters, expected) in [
            (&[("lifecycle", "")][..], "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
            (
                &[("prefix", "J"), ("max-keys", "2")],
                "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            ),
        ] {
            let query = query(parameters);
            let headers = &[HOST, hash, date];
            let signed = Signed { method: "GET", path: "/", query: &query, headers, payload: EMPTY };
            assert_eq!(signature(&signed), expected, "{query}");
        }
    }

    #[test]
    fn a_path_keeps_its_slashes_and_a_query_is_sorted_and_encoded() {
        assert_eq!(encode("/b/t/emqx@10.0.0.5/x y_é~1.jsonl"), "/b/t/emqx%4010.0.0.5/x%20y_%C3%A9~1.jsonl");
        assert_eq!(
            query(&[("uploadId", "a/b+c="), ("partNumber", "10")]),
            "partNumber=10&uploadId=a%2Fb%2Bc%3D"
        );
    }

    #[test]
    fn a_secret_is_not_shown() {
        let credentials =
            Credentials { access_key_id: "id".to_owned(), secret_access_key: "s3cr3t".to_owned() };
        assert!(!format!("{credentials:?}").contains("s3cr3t"));
    }
}
