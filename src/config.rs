//! From the configuration file and the command line to a checked configuration.
//!
//! The file is TOML; every key is optional, an unknown one is an error. What the command line
//! names wins.
//!
//! ```toml
//! http = "127.0.0.1:8080"           # JMAP
//! https = "0.0.0.0:8443"            # the same over TLS; needs tls_certificate and tls_key
//! tls_certificate = "/etc/ssl/mail.pem"     # a chain in PEM; read again when it changes, and by SIGHUP
//! tls_key = "/etc/ssl/mail.key"
//! http_wait_seconds = 60            # the patience with HTTP clients that send nothing
//! smtp = "127.0.0.1:2525"           # mail from the gateway
//! lmtp = "unix:/run/postroom.lmtp"  # the same over LMTP; an address, or unix:PATH
//! relay = "smtp://127.0.0.1:25"     # where replies go; smtp+starttls://USER:PASSWORD@HOST:587, smtps://
//! relay_roots = "/etc/ssl/relay.pem"        # certificates that the relay is trusted by, beside the public ones
//! relay_warn_seconds = 14400        # the sender of a message that isn't relayed yet is told so
//! relay_give_up_seconds = 259200    # and then it has failed
//! return_path = "keyed"             # sender: for a relay that takes only the sender's address
//! hostname = "mail.example.com"     # our name in greetings, Received and Message-ID
//! base_url = "https://jmap.example.com"     # where clients reach us, if a proxy stands before
//! cors_origins = ["https://webmail.example.com"]
//! push_networks = ["10.8.0.0/16"]   # where push subscriptions may lead, beside the public internet
//! push_roots = "/etc/ssl/push.pem"  # certificates that push services are trusted by, beside the public ones
//! push_contact = "mailto:ops@example.com"   # how push services reach whoever runs this server
//! gateways = ["127.0.0.0/8", "10.1.2.3"]    # peers that the limit per address doesn't count
//! deliver_from = ["127.0.0.0/8"]            # who may deliver without a login; all who connect, unless named
//! smtp_login = false                # AUTH over TLS, with a person's address and password
//! authserv_ids = ["gw.example.com"]         # our gateway's name in Authentication-Results; fields of others go
//! spam_headers = ["X-Spam-Flag: YES"]       # what the gateway says of spam, which goes to Junk
//! proxies = ["10.1.2.4"]            # begin each SMTP connection with a header of the PROXY protocol (version 2)
//! xclient_from = ["10.1.2.5"]       # may say by XCLIENT whom they speak for
//! smtp_connections_max = 1000
//! smtp_connections_per_address_max = 20
//! write_buffer_bytes = 33554432
//! block_cache_bytes = 33554432
//! disk_free_bytes_min = 268435456
//! quota_octets = 1099511627776      # what an account may hold, unless `postroom quota set` says otherwise
//! quota_messages = 10000000
//! log = "info"                      # error, warn, info, debug, trace, or a tracing filter
//! log_format = "text"               # text, json
//! ```

use crate::inbox::server::ReturnPath;
use crate::mail::authentication::TrustRules;
use crate::mail::outbound::QueueRules;
use crate::types::limits::HTTP_WAIT_SECONDS_DEFAULT;
use crate::wire::listeners::LmtpAddress;
use crate::wire::smtp_in::PeerRules;
use crate::wire::smtp_limits::IpNetwork;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The file as it is written.
#[derive(Clone, Default, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    pub http: Option<String>,
    pub https: Option<String>,
    pub tls_certificate: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    pub http_wait_seconds: Option<u64>,
    pub smtp: Option<String>,
    pub lmtp: Option<String>,
    pub relay: Option<String>,
    pub relay_roots: Option<PathBuf>,
    pub relay_warn_seconds: Option<u64>,
    pub relay_give_up_seconds: Option<u64>,
    pub return_path: Option<ReturnPath>,
    pub hostname: Option<String>,
    pub base_url: Option<String>,
    #[serde(default)]
    pub cors_origins: Vec<String>,
    #[serde(default)]
    pub push_networks: Vec<String>,
    pub push_roots: Option<PathBuf>,
    pub push_contact: Option<String>,
    pub gateways: Option<Vec<String>>,
    pub deliver_from: Option<Vec<String>>,
    pub smtp_login: Option<bool>,
    #[serde(default)]
    pub authserv_ids: Vec<String>,
    pub spam_headers: Option<Vec<String>>,
    #[serde(default)]
    pub proxies: Vec<String>,
    #[serde(default)]
    pub xclient_from: Vec<String>,
    pub smtp_connections_max: Option<usize>,
    pub smtp_connections_per_address_max: Option<usize>,
    pub write_buffer_bytes: Option<usize>,
    pub block_cache_bytes: Option<usize>,
    pub disk_free_bytes_min: Option<u64>,
    pub quota_octets: Option<u64>,
    pub quota_messages: Option<u64>,
    pub log: Option<String>,
    pub log_format: Option<LogFormat>,
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// The checked configuration of a server.
#[derive(Clone, Debug)]
pub struct Config {
    pub data: PathBuf,
    pub http: SocketAddr,
    pub https: Option<SocketAddr>,
    /// Where the certificate and its key are; both or none.
    pub tls: Option<(PathBuf, PathBuf)>,
    pub http_wait: Duration,
    pub smtp: SocketAddr,
    pub lmtp: Option<LmtpAddress>,
    pub relay: Option<String>,
    /// Certificates in PEM.
    pub relay_roots: Option<Vec<u8>>,
    pub queue: QueueRules,
    pub return_path: ReturnPath,
    pub hostname: String,
    pub base_url: Option<String>,
    pub cors_origins: Vec<String>,
    pub push_networks: Vec<IpNetwork>,
    /// Certificates in PEM.
    pub push_roots: Option<Vec<u8>>,
    pub push_contact: Option<String>,
    pub gateways: Option<Vec<IpNetwork>>,
    pub peers: PeerRules,
    pub trust: TrustRules,
    pub smtp_connections_max: Option<usize>,
    pub smtp_connections_per_address_max: Option<usize>,
    pub write_buffer_bytes: Option<usize>,
    pub block_cache_bytes: Option<usize>,
    pub disk_free_bytes_min: Option<u64>,
    pub quota_octets: Option<u64>,
    pub quota_messages: Option<u64>,
    pub log: String,
    pub log_format: LogFormat,
}

/// What is wrong with a configuration, in words for an operator.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("can't read the configuration {}: {error}", path.display())]
    Unreadable { path: PathBuf, error: std::io::Error },
    #[error("the configuration {} is wrong: {error}", path.display())]
    Wrong { path: PathBuf, error: toml::de::Error },
    #[error("{key} = {value:?}: {why}")]
    Value { key: &'static str, value: String, why: String },
}

/// Reads a configuration file.
pub fn read(path: &Path) -> Result<RawConfig, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?;
    toml::from_str(&text).map_err(|error| ConfigError::Wrong { path: path.to_owned(), error })
}

impl RawConfig {
    /// This configuration with what `over` names in its place.
    pub fn overlaid(self, over: RawConfig) -> Self {
        Self {
            http: over.http.or(self.http),
            https: over.https.or(self.https),
            smtp: over.smtp.or(self.smtp),
            lmtp: over.lmtp.or(self.lmtp),
            relay: over.relay.or(self.relay),
            ..self
        }
    }

    /// Checks every value.
    pub fn check(self, data: PathBuf) -> Result<Config, ConfigError> {
        let relay_roots = read_pem(self.relay_roots)?;
        let push_roots = read_pem(self.push_roots)?;
        let push_contact = match self.push_contact {
            Some(url) if !url.starts_with("mailto:") && !url.starts_with("https://") => {
                return Err(wrong("push_contact", url, "it must start with mailto: or https://"));
            }
            url => url,
        };
        let base_url = base_url(self.base_url)?;
        let lmtp = self.lmtp.map(lmtp).transpose()?;
        let https = self.https.map(|text| address("https", text)).transpose()?;
        let tls = tls(self.tls_certificate, self.tls_key, https)?;
        let http_wait = self.http_wait_seconds.unwrap_or(HTTP_WAIT_SECONDS_DEFAULT).max(1);
        Ok(Config {
            data,
            https,
            tls,
            http_wait: Duration::from_secs(http_wait),
            http: address("http", self.http.unwrap_or_else(|| "127.0.0.1:8080".to_owned()))?,
            smtp: address("smtp", self.smtp.unwrap_or_else(|| "127.0.0.1:2525".to_owned()))?,
            lmtp,
            relay: self.relay,
            relay_roots,
            queue: queue_rules(self.relay_give_up_seconds, self.relay_warn_seconds),
            return_path: self.return_path.unwrap_or_default(),
            hostname: hostname(self.hostname)?,
            base_url,
            cors_origins: self.cors_origins.into_iter().map(origin).collect::<Result<_, _>>()?,
            push_networks: networks("push_networks", &self.push_networks)?,
            push_roots,
            push_contact,
            gateways: self.gateways.map(|all| networks("gateways", &all)).transpose()?,
            trust: TrustRules {
                authserv_ids: self.authserv_ids,
                spam_fields: spam_fields(self.spam_headers)?,
            },
            peers: PeerRules {
                may_deliver: self.deliver_from.map(|all| networks("deliver_from", &all)).transpose()?,
                login: self.smtp_login.unwrap_or_default(),
                proxies: networks("proxies", &self.proxies)?,
                xclient: networks("xclient_from", &self.xclient_from)?,
            },
            smtp_connections_max: self.smtp_connections_max,
            smtp_connections_per_address_max: self.smtp_connections_per_address_max,
            write_buffer_bytes: self.write_buffer_bytes,
            block_cache_bytes: self.block_cache_bytes,
            disk_free_bytes_min: self.disk_free_bytes_min,
            quota_octets: self.quota_octets,
            quota_messages: self.quota_messages,
            log: self.log.unwrap_or_else(|| "info".to_owned()),
            log_format: self.log_format.unwrap_or_default(),
        })
    }
}

fn base_url(url: Option<String>) -> Result<Option<String>, ConfigError> {
    match url {
        Some(url) if !url.starts_with("http://") && !url.starts_with("https://") => {
            Err(wrong("base_url", url, "it must start with http:// or https://"))
        }
        url => Ok(url.map(|url| url.trim_end_matches('/').to_owned())),
    }
}

fn lmtp(text: String) -> Result<LmtpAddress, ConfigError> {
    match text.strip_prefix("unix:") {
        Some(path) => Ok(LmtpAddress::Unix(PathBuf::from(path))),
        None => Ok(LmtpAddress::Tcp(address("lmtp", text)?)),
    }
}

/// The files of the certificate and of its key: both or neither, and both where HTTPS needs them.
fn tls(
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    https: Option<SocketAddr>,
) -> Result<Option<(PathBuf, PathBuf)>, ConfigError> {
    match (certificate, key, https) {
        (Some(certificate), Some(key), _) => Ok(Some((certificate, key))),
        (None, None, Some(https)) => {
            Err(wrong("https", https.to_string(), "it needs tls_certificate and tls_key"))
        }
        (None, None, None) => Ok(None),
        _ => Err(wrong("tls_certificate", String::new(), "tls_certificate and tls_key go together")),
    }
}

fn networks(key: &'static str, all: &[String]) -> Result<Vec<IpNetwork>, ConfigError> {
    all.iter()
        .map(|text| {
            IpNetwork::parse(text).ok_or_else(|| {
                wrong(key, text.clone(), "a network looks like 10.0.0.0/8 or fd00::/8, or is an address")
            })
        })
        .collect()
}

/// `X-Spam-Flag: YES`: the name of a field, and how its value begins.
fn spam_fields(given: Option<Vec<String>>) -> Result<Vec<(String, String)>, ConfigError> {
    let usual = ["X-Spam-Flag: YES", "X-Spam-Status: Yes", "X-Spam: Yes"].map(str::to_owned);
    let field = |text: String| match text.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() && !value.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err(wrong("spam_headers", text, "a header looks like X-Spam-Flag: YES")),
    };
    given.unwrap_or_else(|| usual.to_vec()).into_iter().map(field).collect()
}

fn queue_rules(give_up: Option<u64>, warn: Option<u64>) -> QueueRules {
    let defaults = QueueRules::default();
    QueueRules {
        give_up: give_up.map_or(defaults.give_up, Duration::from_secs),
        warn: warn.map_or(defaults.warn, Duration::from_secs),
    }
}

fn address(key: &'static str, text: String) -> Result<SocketAddr, ConfigError> {
    match text.parse() {
        Ok(address) => Ok(address),
        Err(_) => Err(wrong(
            key,
            text,
            "an address looks like 127.0.0.1:8080 or [::1]:8080; port 0 takes a free one",
        )),
    }
}

/// RFC 6454 §6.2, as browsers write it.
fn origin(text: String) -> Result<String, ConfigError> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match host {
        Some(host) if !host.is_empty() && !host.contains(['/', '*', ' ', '@']) => Ok(text.to_lowercase()),
        _ => Err(wrong(
            "cors_origins",
            text,
            "an origin looks like https://webmail.example.com, without a path",
        )),
    }
}

fn read_pem(path: Option<PathBuf>) -> Result<Option<Vec<u8>>, ConfigError> {
    let read = |path: PathBuf| match std::fs::read(&path) {
        Ok(content) => Ok(content),
        Err(error) => Err(ConfigError::Unreadable { path, error }),
    };
    path.map(read).transpose()
}

/// The configured name, else the machine's, else a name that is nobody's.
fn hostname(configured: Option<String>) -> Result<String, ConfigError> {
    let fits = |name: &str| {
        !name.is_empty()
            && name.len() <= 253
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
    };
    match configured {
        Some(name) if fits(&name) => Ok(name),
        Some(name) => Err(wrong("hostname", name, "a host name has letters, digits, dots and hyphens only")),
        None => {
            let own = rustix::system::uname().nodename().to_string_lossy().into_owned();
            Ok(if fits(&own) { own } else { "postroom.invalid".to_owned() })
        }
    }
}

fn wrong(key: &'static str, value: String, why: &str) -> ConfigError {
    ConfigError::Value { key, value, why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_an_error_that_names_it() {
        let error = toml::from_str::<RawConfig>("htpp = \"127.0.0.1:80\"").unwrap_err().to_string();
        assert!(error.contains("unknown field `htpp`"), "{error}");
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let file: RawConfig = toml::from_str("http = \"127.0.0.1:1\"\nsmtp = \"127.0.0.1:2\"").unwrap();
        let line = RawConfig { http: Some("127.0.0.1:3".to_owned()), ..RawConfig::default() };
        let config = file.overlaid(line).check(PathBuf::from("x")).unwrap();
        assert_eq!((config.http.port(), config.smtp.port()), (3, 2));
    }

    #[test]
    fn networks_are_read_and_a_wrong_one_is_named() {
        let raw: RawConfig =
            toml::from_str("deliver_from = [\"10.0.0.0/8\"]\nproxies = [\"::1\"]\nsmtp_login = true")
                .unwrap();
        let peers = raw.check(PathBuf::from("x")).unwrap().peers;
        assert_eq!(peers.may_deliver, Some(vec![IpNetwork::parse("10.0.0.0/8").unwrap()]));
        assert_eq!((peers.proxies.len(), peers.login), (1, true));
        let raw: RawConfig = toml::from_str("xclient_from = [\"10.0.0.0/40\"]").unwrap();
        let error = raw.check(PathBuf::from("x")).unwrap_err().to_string();
        assert_eq!(
            error,
            "xclient_from = \"10.0.0.0/40\": a network looks like 10.0.0.0/8 or fd00::/8, or is an address"
        );
    }

    #[test]
    fn an_origin_has_a_scheme_and_a_host_and_nothing_else() {
        let check = |text: &str| {
            let raw = RawConfig { cors_origins: vec![text.to_owned()], ..RawConfig::default() };
            raw.check(PathBuf::from("x")).map(|config| config.cors_origins.concat()).ok()
        };
        assert_eq!(check("https://Mail.example:8443").as_deref(), Some("https://mail.example:8443"));
        for wrong in ["*", "https://*", "mail.example", "https://mail.example/", "https://", "null"] {
            assert_eq!(check(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn tls_needs_a_certificate_and_its_key() {
        for (text, wanted) in [
            ("https = \"127.0.0.1:1\"", "https = \"127.0.0.1:1\": it needs tls_certificate and tls_key"),
            ("tls_key = \"k\"", "tls_certificate = \"\": tls_certificate and tls_key go together"),
        ] {
            let raw: RawConfig = toml::from_str(text).unwrap();
            assert_eq!(raw.check(PathBuf::from("x")).unwrap_err().to_string(), wanted);
        }
    }

    #[test]
    fn a_wrong_value_says_how_it_should_look() {
        let raw = RawConfig { smtp: Some("localhost".to_owned()), ..RawConfig::default() };
        let error = raw.check(PathBuf::from("x")).unwrap_err().to_string();
        assert_eq!(
            error,
            "smtp = \"localhost\": an address looks like 127.0.0.1:8080 or [::1]:8080; port 0 takes a free one"
        );
    }
}
