//! From the configuration file and the command line to a checked configuration.
//!
//! The file is TOML; every key is optional, an unknown one is an error. What the command line
//! names wins. What each key means stands beside it in [`RawConfig`], from where the reference in
//! `spec/configuration.md` is made.

mod reference;

pub use reference::reference;

use crate::inbox::server::ReturnPath;
use crate::mail::authentication::TrustRules;
use crate::mail::outbound::QueueRules;
use crate::mail::relays::domain_key;
use crate::types::limits::{
    HTTP_WAIT_SECONDS_DEFAULT, RELAY_CONNECTIONS_MAX, RELAY_CONNECTIONS_PER_DESTINATION_MAX,
};
use crate::wire::dkim_keys::KeyEntry;
use crate::wire::listeners::LmtpAddress;
use crate::wire::smtp_in::PeerRules;
use crate::wire::smtp_limits::IpNetwork;
use schemars::JsonSchema;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The file as it is written.
#[derive(Clone, Default, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    /// Where JMAP listens. Default `127.0.0.1:8080`; port 0 takes a free one, which is printed.
    pub http: Option<String>,
    /// Where JMAP listens for TLS, with HTTP/2 too. Needs the certificate.
    pub https: Option<String>,
    /// A certificate chain in PEM. It is read again when it changes, and by SIGHUP. SMTP offers STARTTLS
    /// with it.
    pub tls_certificate: Option<PathBuf>,
    /// The certificate's private key in PEM.
    pub tls_key: Option<PathBuf>,
    /// The patience with HTTP clients that send nothing. Default 60.
    pub http_wait_seconds: Option<u64>,
    /// How many JMAP requests one person may make in a minute, over all their clients, in bursts of that
    /// size; beyond it they get 429 with Retry-After. Default: as many as they like.
    pub http_requests_per_minute: Option<u32>,
    /// Where `/metrics` is served, for Prometheus. It tells of all inboxes at once: let nobody else reach
    /// it. Default: nowhere.
    pub metrics: Option<String>,
    /// Where mail from the gateway comes in by SMTP. Default `127.0.0.1:2525`.
    pub smtp: Option<String>,
    /// The same with TLS from the first octet. Needs the certificate.
    pub smtps: Option<String>,
    /// The same by LMTP: an address, or `unix:PATH`. Default: nowhere.
    pub lmtp: Option<String>,
    /// Where replies go: `smtp://HOST:PORT`, `smtp+starttls://USER:PASSWORD@HOST:587` or
    /// `smtps://USER:PASSWORD@HOST`. Without it they wait in the queue.
    pub relay: Option<String>,
    /// Several relays, each a table `[[relays]]`. A `relay` beside them is the first.
    #[serde(default)]
    pub relays: Vec<RawRelay>,
    /// Certificates in PEM that relays are trusted by, beside the public ones.
    pub relay_roots: Option<PathBuf>,
    /// After so long the sender of a message that isn't relayed yet is told so. Default 14400.
    pub relay_warn_seconds: Option<u64>,
    /// After so long it has failed, and the sender is told. Default 259200.
    pub relay_give_up_seconds: Option<u64>,
    /// `keyed`: bounces come to an address of each message's own below the sender's domain, which nobody
    /// can forge. `sender`: they come to the sender, for relays that take nothing else. Default `keyed`.
    #[schemars(with = "Option<String>")]
    pub return_path: Option<ReturnPath>,
    /// Who signs for a domain, each a table `[[dkim]]`. Default: nobody; most relays sign.
    #[serde(default)]
    pub dkim: Vec<RawDkim>,
    /// Our name in greetings, Received and Message-ID. Default: the machine's.
    pub hostname: Option<String>,
    /// Where clients reach us, if a proxy stands before. Default: as the request says.
    pub base_url: Option<String>,
    /// Origins that browsers may call from, such as `https://webmail.example.com`.
    #[serde(default)]
    pub cors_origins: Vec<String>,
    /// Networks that push subscriptions may lead to, beside the public internet.
    #[serde(default)]
    pub push_networks: Vec<String>,
    /// Certificates in PEM that push services are trusted by, beside the public ones.
    pub push_roots: Option<PathBuf>,
    /// How push services reach whoever runs this server: a `mailto:` or `https:` URL.
    pub push_contact: Option<String>,
    /// Networks of gateways, which the limits of connections and of messages per address don't count. Default:
    /// loopback.
    pub gateways: Option<Vec<String>>,
    /// Networks that may deliver without a login. Default: everybody who connects.
    pub deliver_from: Option<Vec<String>>,
    /// Certificates in PEM of authorities: a client of SMTP that shows one that they signed, over TLS, may deliver,
    /// too, wherever it is. Needs `deliver_from`, which may be empty, and the certificate. It is read again when
    /// it changes, and by SIGHUP.
    pub client_roots: Option<PathBuf>,
    /// Whether a person's address and password let anybody else deliver, by AUTH over TLS. Default false.
    pub smtp_login: Option<bool>,
    /// Our gateway's names in Authentication-Results. What others say there is taken out.
    #[serde(default)]
    pub authserv_ids: Vec<String>,
    /// What the gateway says of spam, which goes to Junk: a field and how its value begins. Default
    /// `X-Spam-Flag: YES`, `X-Spam-Status: Yes`, `X-Spam: Yes`.
    pub spam_headers: Option<Vec<String>>,
    /// Networks of proxies that begin each SMTP connection with a header of the PROXY protocol, version 2.
    #[serde(default)]
    pub proxies: Vec<String>,
    /// Networks that may say by XCLIENT whom they speak for.
    #[serde(default)]
    pub xclient_from: Vec<String>,
    /// SMTP and LMTP connections at once. Default 1000.
    pub smtp_connections_max: Option<usize>,
    /// Those of one address that is no gateway's. Default 20.
    pub smtp_connections_per_address_max: Option<usize>,
    /// How many messages one address that is no gateway's may send in a minute by SMTP and LMTP, in bursts of that
    /// size; beyond it MAIL is answered 450. 0: as many as it likes. Default 600.
    pub smtp_messages_per_minute: Option<u32>,
    /// Memory for writes that aren't in files yet, in octets. Default 33554432.
    pub write_buffer_bytes: Option<usize>,
    /// Memory for blocks read from files, in octets. Default 33554432.
    pub block_cache_bytes: Option<usize>,
    /// With less disk free, in octets, intake answers 452 and nothing is written. Default 268435456.
    pub disk_free_bytes_min: Option<u64>,
    /// What an account may hold, in octets, unless `postroom quota set` says otherwise. Default
    /// 1099511627776.
    pub quota_octets: Option<u64>,
    /// The same in messages. Default 10000000.
    pub quota_messages: Option<u64>,
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter of tracing. `POSTROOM_LOG` wins over it.
    /// Libraries are heard from `info` on, since below it they show what passes through them. Default `info`.
    pub log: Option<String>,
    /// How log lines look: `text` or `json`. Default `text`.
    #[schemars(with = "Option<String>")]
    pub log_format: Option<LogFormat>,
}

/// One of several relays.
#[derive(Clone, Default, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawRelay {
    /// Where it is, as in `relay`. The only key that a relay needs.
    pub url: String,
    /// Domains of senders. Their mail goes through the relays that name them and no other; mail of any other
    /// domain goes through the relays that name none.
    #[serde(default)]
    pub senders: Vec<String>,
    /// Of the relays that may carry a message and can be reached the one with the lowest number is taken,
    /// among equals the one with the least to do. Default 0.
    pub priority: Option<u32>,
    /// Connections at once. Default 8.
    pub connections_max: Option<usize>,
    /// Of these, for recipients in one domain. Default 4.
    pub connections_per_destination_max: Option<usize>,
}

/// A key that signs what a domain sends (RFC 6376).
#[derive(Clone, Default, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawDkim {
    /// The domain in From; those below it that have no key of their own are signed for, too.
    pub domain: String,
    /// The name of the key's record in DNS, `SELECTOR._domainkey.DOMAIN`.
    pub selector: String,
    /// The private key in PEM: RSA of 2048 to 4096 bits, or Ed25519. It is read again when it changes, and by
    /// SIGHUP.
    pub key_file: PathBuf,
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
    pub http_requests_per_minute: Option<u32>,
    pub metrics: Option<SocketAddr>,
    pub smtp: SocketAddr,
    pub smtps: Option<SocketAddr>,
    pub lmtp: Option<LmtpAddress>,
    pub relays: Vec<RelayEntry>,
    /// Certificates in PEM.
    pub relay_roots: Option<Vec<u8>>,
    pub queue: QueueRules,
    pub return_path: ReturnPath,
    pub dkim: Vec<KeyEntry>,
    pub hostname: String,
    pub base_url: Option<String>,
    pub cors_origins: Vec<String>,
    pub push_networks: Vec<IpNetwork>,
    /// Certificates in PEM.
    pub push_roots: Option<Vec<u8>>,
    pub push_contact: Option<String>,
    pub gateways: Option<Vec<IpNetwork>>,
    pub peers: PeerRules,
    /// A file of certificates in PEM.
    pub client_roots: Option<PathBuf>,
    pub trust: TrustRules,
    pub smtp_connections_max: Option<usize>,
    pub smtp_connections_per_address_max: Option<usize>,
    pub smtp_messages_per_minute: Option<u32>,
    pub write_buffer_bytes: Option<usize>,
    pub block_cache_bytes: Option<usize>,
    pub disk_free_bytes_min: Option<u64>,
    pub quota_octets: Option<u64>,
    pub quota_messages: Option<u64>,
    pub log: String,
    pub log_format: LogFormat,
}

/// A relay as the configuration has it.
#[derive(Clone, Debug)]
pub struct RelayEntry {
    pub url: String,
    /// Domains, as domains compare.
    pub senders: Vec<String>,
    pub priority: u32,
    pub connections_max: usize,
    pub connections_per_destination_max: usize,
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

impl ConfigError {
    /// The key that is wrong; `None` where it is the file.
    pub fn key(&self) -> Option<&'static str> {
        match self {
            Self::Value { key, .. } => Some(key),
            Self::Unreadable { .. } | Self::Wrong { .. } => None,
        }
    }
}

/// All that is wrong, a line each.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigErrors(pub Vec<ConfigError>);

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
            relays: if over.relay.is_some() { Vec::new() } else { self.relays },
            relay: over.relay.or(self.relay),
            ..self
        }
    }

    /// Checks every value, and names all that are wrong.
    pub fn check(self, data: PathBuf) -> Result<Config, ConfigErrors> {
        let mut wrong = Findings::default();
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let https = wrong.of(self.https.map(|text| address("https", text)).transpose()).flatten();
        let smtps = wrong.of(self.smtps.map(|text| address("smtps", text)).transpose()).flatten();
        let needed = https.map(|at| ("https", at)).or(smtps.map(|at| ("smtps", at)));
        let http = address("http", self.http.unwrap_or_else(|| "127.0.0.1:8080".to_owned()));
        let smtp = address("smtp", self.smtp.unwrap_or_else(|| "127.0.0.1:2525".to_owned()));
        let http_wait = self.http_wait_seconds.unwrap_or(HTTP_WAIT_SECONDS_DEFAULT).max(1);
        let client_roots = client_roots(self.client_roots, &self.deliver_from, &self.tls_certificate);
        let origins = self.cors_origins.into_iter().filter_map(|text| wrong.of(origin(text))).collect();
        let config = Config {
            data,
            https,
            smtps,
            tls: wrong.of(tls(self.tls_certificate, self.tls_key, needed)).flatten(),
            http_wait: Duration::from_secs(http_wait),
            http_requests_per_minute: self.http_requests_per_minute.filter(|count| *count > 0),
            metrics: wrong.of(self.metrics.map(|text| address("metrics", text)).transpose()).flatten(),
            http: wrong.of(http).unwrap_or(nowhere),
            smtp: wrong.of(smtp).unwrap_or(nowhere),
            lmtp: wrong.of(self.lmtp.map(lmtp).transpose()).flatten(),
            relays: relays(&mut wrong, self.relay, self.relays),
            relay_roots: wrong.of(read_pem("relay_roots", self.relay_roots)).flatten(),
            queue: queue_rules(self.relay_give_up_seconds, self.relay_warn_seconds),
            return_path: self.return_path.unwrap_or_default(),
            dkim: self.dkim.into_iter().filter_map(|raw| wrong.of(dkim(raw))).collect(),
            hostname: wrong.of(hostname(self.hostname)).unwrap_or_default(),
            base_url: wrong.of(base_url(self.base_url)).flatten(),
            cors_origins: origins,
            push_networks: wrong.of(networks("push_networks", &self.push_networks)).unwrap_or_default(),
            push_roots: wrong.of(read_pem("push_roots", self.push_roots)).flatten(),
            push_contact: wrong.of(contact(self.push_contact)).flatten(),
            gateways: self.gateways.and_then(|all| wrong.of(networks("gateways", &all))),
            trust: TrustRules {
                authserv_ids: self.authserv_ids,
                spam_fields: wrong.of(spam_fields(self.spam_headers)).unwrap_or_default(),
            },
            client_roots: wrong.of(client_roots).flatten(),
            peers: PeerRules {
                clients: None,
                may_deliver: self.deliver_from.and_then(|all| wrong.of(networks("deliver_from", &all))),
                login: self.smtp_login.unwrap_or_default(),
                proxies: wrong.of(networks("proxies", &self.proxies)).unwrap_or_default(),
                xclient: wrong.of(networks("xclient_from", &self.xclient_from)).unwrap_or_default(),
            },
            smtp_connections_max: self.smtp_connections_max,
            smtp_connections_per_address_max: self.smtp_connections_per_address_max,
            smtp_messages_per_minute: self.smtp_messages_per_minute,
            write_buffer_bytes: self.write_buffer_bytes,
            block_cache_bytes: self.block_cache_bytes,
            disk_free_bytes_min: self.disk_free_bytes_min,
            quota_octets: self.quota_octets,
            quota_messages: self.quota_messages,
            log: wrong.of(log(self.log)).unwrap_or_default(),
            log_format: self.log_format.unwrap_or_default(),
        };
        if wrong.0.is_empty() { Ok(config) } else { Err(ConfigErrors(wrong.0)) }
    }
}

/// What is wrong so far.
#[derive(Default)]
struct Findings(Vec<ConfigError>);

impl Findings {
    /// The value, or nothing and one finding more.
    fn of<T>(&mut self, checked: Result<T, ConfigError>) -> Option<T> {
        checked.map_err(|error| self.0.push(error)).ok()
    }
}

fn contact(url: Option<String>) -> Result<Option<String>, ConfigError> {
    match url {
        Some(url) if !url.starts_with("mailto:") && !url.starts_with("https://") => {
            Err(wrong("push_contact", url, "it must start with mailto: or https://"))
        }
        url => Ok(url),
    }
}

fn log(filter: Option<String>) -> Result<String, ConfigError> {
    let filter = filter.unwrap_or_else(|| "info".to_owned());
    match tracing_subscriber::EnvFilter::try_new(&filter) {
        Ok(_) => Ok(filter),
        Err(error) => Err(wrong("log", filter, &error.to_string())),
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

/// The files of the certificate and of its key: both or neither, and both where a listener needs them.
fn tls(
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    needed: Option<(&'static str, SocketAddr)>,
) -> Result<Option<(PathBuf, PathBuf)>, ConfigError> {
    match (certificate, key, needed) {
        (Some(certificate), Some(key), _) => Ok(Some((certificate, key))),
        (None, None, Some((name, at))) => {
            Err(wrong(name, at.to_string(), "it needs tls_certificate and tls_key"))
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

/// All relays, the only one of `relay` first.
fn relays(wrong: &mut Findings, only: Option<String>, several: Vec<RawRelay>) -> Vec<RelayEntry> {
    let first = only.map(|url| RawRelay { url, ..RawRelay::default() });
    first.into_iter().chain(several).filter_map(|raw| wrong.of(relay(raw))).collect()
}

fn relay(raw: RawRelay) -> Result<RelayEntry, ConfigError> {
    let domain = |text: String| {
        domain_key(&text).ok_or_else(|| wrong("relays", text, "senders are domains, such as example.com"))
    };
    let at_once = |number: Option<usize>, default: usize| match number {
        Some(0) => Err(wrong("relays", "0".to_owned(), "a relay needs a connection at least")),
        number => Ok(number.unwrap_or(default)),
    };
    Ok(RelayEntry {
        senders: raw.senders.into_iter().map(domain).collect::<Result<_, _>>()?,
        priority: raw.priority.unwrap_or_default(),
        connections_max: at_once(raw.connections_max, RELAY_CONNECTIONS_MAX)?,
        connections_per_destination_max: at_once(
            raw.connections_per_destination_max,
            RELAY_CONNECTIONS_PER_DESTINATION_MAX,
        )?,
        url: raw.url,
    })
}

/// Whether the key itself can be used, the start says, and `postroom config check`.
fn dkim(raw: RawDkim) -> Result<KeyEntry, ConfigError> {
    // RFC 6376 §3.1: sub-domains separated by dots.
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
    };
    if !raw.selector.split('.').all(label) {
        return Err(wrong("dkim", raw.selector, "a selector is a name in DNS, such as mail2026"));
    }
    let domain = domain_key(&raw.domain)
        .ok_or_else(|| wrong("dkim", raw.domain, "domain is one, such as example.com"))?;
    Ok(KeyEntry { domain, selector: raw.selector, file: raw.key_file })
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

/// Authorities of clients, where something depends on them.
fn client_roots(
    path: Option<PathBuf>,
    deliver_from: &Option<Vec<String>>,
    certificate: &Option<PathBuf>,
) -> Result<Option<PathBuf>, ConfigError> {
    let why = match (&path, deliver_from, certificate) {
        (Some(_), None, _) => "without deliver_from everybody may deliver; [] lets in nobody by address",
        (Some(_), _, None) => "a client shows a certificate over TLS: it needs tls_certificate and tls_key",
        _ => return Ok(path),
    };
    Err(wrong("client_roots", path.unwrap_or_default().display().to_string(), why))
}

fn read_pem(key: &'static str, path: Option<PathBuf>) -> Result<Option<Vec<u8>>, ConfigError> {
    let Some(path) = path else { return Ok(None) };
    match std::fs::read(&path) {
        Ok(content) => Ok(Some(content)),
        Err(error) => Err(wrong(key, path.display().to_string(), &format!("it can't be read: {error}"))),
    }
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
        for (more, why) in [("", "everybody may deliver"), ("deliver_from = []", "tls_certificate")] {
            let raw: RawConfig = toml::from_str(&format!("client_roots = \"x\"\n{more}")).unwrap();
            let error = raw.check(PathBuf::from("x")).unwrap_err().to_string();
            assert!(error.starts_with("client_roots = \"x\"") && error.contains(why), "{error}");
        }
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
            ("smtps = \"127.0.0.1:1\"", "smtps = \"127.0.0.1:1\": it needs tls_certificate and tls_key"),
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

    #[test]
    fn several_relays_are_read_and_the_command_line_s_takes_their_place() {
        let text = "relay = \"smtp://a\"\n[[relays]]\nurl = \"smtp://b\"\nsenders = [\"X.example\"]\n\
                    priority = 5\nconnections_max = 2";
        let raw: RawConfig = toml::from_str(text).unwrap();
        let told = |raw: RawConfig| {
            let relays = raw.check(PathBuf::from("x")).unwrap().relays;
            let one = |one: RelayEntry| (one.url, one.senders.concat(), one.priority, one.connections_max);
            relays.into_iter().map(one).collect::<Vec<_>>()
        };
        let first = ("smtp://a".to_owned(), String::new(), 0, RELAY_CONNECTIONS_MAX);
        assert_eq!(told(raw.clone()), [first, ("smtp://b".to_owned(), "x.example".to_owned(), 5, 2)]);
        let line = RawConfig { relay: Some("smtp://c".to_owned()), ..RawConfig::default() };
        let only = ("smtp://c".to_owned(), String::new(), 0, RELAY_CONNECTIONS_MAX);
        assert_eq!(told(raw.overlaid(line)), [only]);
        for (wrong, why) in [
            ("senders = [\"no domain\"]", "relays = \"no domain\": senders are domains, such as example.com"),
            ("connections_max = 0", "relays = \"0\": a relay needs a connection at least"),
        ] {
            let raw: RawConfig = toml::from_str(&format!("[[relays]]\nurl = \"smtp://b\"\n{wrong}")).unwrap();
            assert_eq!(raw.check(PathBuf::from("x")).unwrap_err().to_string(), why);
        }
    }

    #[test]
    fn who_signs_for_a_domain_is_read_and_what_is_wrong_is_named() {
        let check = |keys: &str| {
            let raw: RawConfig = toml::from_str(&format!("[[dkim]]\nkey_file = \"k.pem\"\n{keys}")).unwrap();
            raw.check(PathBuf::from("x")).map(|config| config.dkim).map_err(|error| error.to_string())
        };
        let all = check("domain = \"X.example\"\nselector = \"a.b_2\"").unwrap();
        assert_eq!((all[0].domain.as_str(), all[0].selector.as_str()), ("x.example", "a.b_2"));
        for (keys, why) in [
            (
                "domain = \"no domain\"\nselector = \"s\"",
                "dkim = \"no domain\": domain is one, such as example.com",
            ),
            (
                "domain = \"x.example\"\nselector = \"a..b\"",
                "dkim = \"a..b\": a selector is a name in DNS, such as mail2026",
            ),
        ] {
            assert_eq!(check(keys).unwrap_err(), why);
        }
    }

    #[test]
    fn all_that_is_wrong_is_named_at_once() {
        let raw: RawConfig = toml::from_str(
            "http = \"here\"\nproxies = [\"there\"]\nrelay_roots = \"/no/such/file\"\nlog = \"a=b=c\"",
        )
        .unwrap();
        let errors = raw.check(PathBuf::from("x")).unwrap_err();
        let keys: Vec<_> = errors.0.iter().filter_map(ConfigError::key).collect();
        assert_eq!(keys, ["http", "relay_roots", "proxies", "log"]);
        assert_eq!(errors.to_string().lines().count(), 4);
    }
}
