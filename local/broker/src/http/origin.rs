//! Where a URL of the production configuration leads on this machine.

use std::collections::BTreeMap;

/// A URL of the configuration, cut into what a request needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// `https://api.optic.works`: scheme and authority, lower case.
    pub origin: String,
    /// `api.optic.works`, with the port if one was written.
    pub authority: String,
    /// `/webhook/mqtt-auth?x=1`; empty if the URL ends at the authority.
    pub path: String,
}

impl Url {
    /// Reads `http://host[:port][/path][?query]` or its https twin; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        let plain = authority.chars().all(|c| c.is_ascii_alphanumeric() || ".-:[]".contains(c));
        let visible = path.chars().all(|c| c.is_ascii_graphic() && c != '#');
        if !matches!(scheme.as_str(), "http" | "https") || authority.is_empty() || !plain || !visible {
            return None;
        }
        let authority = authority.to_ascii_lowercase();
        Some(Self { origin: format!("{scheme}://{authority}"), authority, path: path.to_owned() })
    }
}

/// Where requests to an origin really go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `127.0.0.1:8787`, to connect to.
    pub address: String,
    /// The `Host` header.
    pub host: String,
}

/// The `--origin` and `--host` options: production names to local ones.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    /// Production origin to local address.
    addresses: BTreeMap<String, String>,
    /// Production host to the `Host` header sent instead.
    hosts: BTreeMap<String, String>,
}

impl Origins {
    /// Reads `https://api.optic.works=http://127.0.0.1:8787`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn origin(&mut self, option: &str) -> Result<(), String> {
        let (from, to) = option.split_once('=').ok_or_else(|| format!("{option}: expected FROM=TO"))?;
        let from = Url::parse(from).filter(|url| url.path.is_empty());
        let from =
            from.ok_or_else(|| format!("{option}: the left side must be an origin, without a path"))?;
        let to = Url::parse(to).filter(|url| url.path.is_empty() && url.origin.starts_with("http://"));
        let to = to.ok_or_else(|| format!("{option}: the right side must be an http:// origin"))?;
        self.addresses.insert(from.origin, with_port(&to.authority));
        Ok(())
    }

    /// Reads `api.optic.works=api.localhost`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn host(&mut self, option: &str) -> Result<(), String> {
        let (from, to) = option.split_once('=').ok_or_else(|| format!("{option}: expected FROM=TO"))?;
        if from.is_empty() || to.is_empty() {
            return Err(format!("{option}: expected FROM=TO"));
        }
        self.hosts.insert(from.to_ascii_lowercase(), to.to_owned());
        Ok(())
    }

    /// Where `url` leads, or `None` for an https origin that no option maps: this broker speaks no TLS.
    pub fn target(&self, url: &Url) -> Option<Target> {
        let address = match self.addresses.get(&url.origin) {
            Some(address) => address.clone(),
            None if url.origin.starts_with("http://") => with_port(&url.authority),
            None => return None,
        };
        let host = self.hosts.get(&url.authority).unwrap_or(&url.authority).clone();
        Some(Target { address, host })
    }
}

fn with_port(authority: &str) -> String {
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port { authority.to_owned() } else { format!("{authority}:80") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_production_url_leads_to_the_local_origin_under_the_local_host() {
        let mut origins = Origins::default();
        origins.origin("https://api.optic.works=http://127.0.0.1:8787").unwrap();
        origins.host("api.optic.works=api.localhost").unwrap();
        let url = Url::parse("https://api.optic.works/webhook/mqtt-auth").unwrap();
        assert_eq!(url.path, "/webhook/mqtt-auth");
        let target = origins.target(&url).unwrap();
        assert_eq!(target.address, "127.0.0.1:8787");
        assert_eq!(target.host, "api.localhost");
    }

    #[test]
    fn an_https_origin_without_a_local_one_leads_nowhere() {
        let url = Url::parse("https://elsewhere.example/x").unwrap();
        assert_eq!(Origins::default().target(&url), None);
        let plain = Url::parse("http://localhost/x").unwrap();
        let target = Origins::default().target(&plain).unwrap();
        assert_eq!((target.address.as_str(), target.host.as_str()), ("localhost:80", "localhost"));
    }

    #[test]
    fn what_is_not_a_url_is_refused() {
        for text in ["", "api.optic.works", "ftp://x", "https://", "https://a b/", "https://a/#frag"] {
            assert_eq!(Url::parse(text), None, "{text}");
        }
        let mut origins = Origins::default();
        for option in ["", "a=b", "https://a=https://b", "https://a/x=http://b", "https://a=http://b/x"] {
            assert!(origins.origin(option).is_err(), "{option}");
        }
    }
}
