//! The server from start to stop: what is opened in which order, which tasks run, how they end.

use crate::auth::{Authenticator, Credentials, Directory};
use crate::config::{Config, RelayEntry};
use crate::inbox::delivery::{self, Delivery, Known};
use crate::inbox::server::{Server, ServerSettings};
use crate::mail::quota;
use crate::mail::relays::RelayRule;
use crate::mail::search::SearchIndex;
use crate::smtp::session::{DeliveryAnswer, Dialect, RecipientAnswer};
use crate::store::rows::quota::{QuotaLimit, Quotas};
use crate::store::{Store, StoreError, StoreOptions};
use crate::types::{Clock, Random};
use crate::wire::client_roots::{ClientRoots, RootsError};
use crate::wire::dkim_keys::{self, KeyError};
use crate::wire::listeners::{Addresses, ListenError, Listeners, LmtpAddress};
use crate::wire::push::guard::Guard;
use crate::wire::push::{self, PushConfig};
use crate::wire::smtp_in::{SmtpConfig, SmtpHooks, SmtpListener};
use crate::wire::smtp_out::{RelayConfig, RelayLink};
use crate::wire::supervisor::{self, Moment};
use crate::wire::tls::{Certificate, TlsError};
use crate::wire::{admin_socket, background, http, relay, smtp_in, smtp_out};
use serde_json::json;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Why the server doesn't start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("full text can't be opened: {0}")]
    Search(String),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("relay: {0}")]
    Relay(String),
    #[error("push_roots: {0}")]
    Push(String),
    #[error("dkim: {0}")]
    Dkim(#[from] KeyError),
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    #[error("client_roots: {0}")]
    ClientRoots(#[from] RootsError),
    #[error("{what}: {error}")]
    Io { what: &'static str, error: std::io::Error },
}

/// Opens the folder's store as the configuration says.
pub fn open_store(config: &Config) -> Result<Arc<Store>, StoreError> {
    let defaults = StoreOptions::default();
    let hard = |limit: Option<u64>, default: QuotaLimit| limit.map_or(default, QuotaLimit::hard);
    let options = StoreOptions {
        write_buffer_bytes: config.write_buffer_bytes.unwrap_or(defaults.write_buffer_bytes),
        block_cache_bytes: config.block_cache_bytes.unwrap_or(defaults.block_cache_bytes),
        disk_free_bytes_min: config.disk_free_bytes_min.unwrap_or(defaults.disk_free_bytes_min),
        quotas: Quotas {
            octets: hard(config.quota_octets, defaults.quotas.octets),
            messages: hard(config.quota_messages, defaults.quotas.messages),
        },
        ..defaults
    };
    Store::open(&config.data, options, Clock::system(), Random::system())
}

/// Runs the server until SIGTERM or SIGINT.
pub fn run(config: Config) -> Result<(), AppError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("postroom")
        .build()
        .map_err(|error| AppError::Io { what: "the runtime can't start", error })?;
    let store = open_store(&config)?;
    let server = open(&config, Arc::clone(&store))?;
    let accounts: Vec<_> = server.directory.current().accounts().map(|(id, _)| id).collect();
    quota::settle_server_limits(&store, &accounts, store.quotas())?;
    let done = runtime.block_on(serve(&config, server));
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    store.close();
    done
}

async fn serve(config: &Config, server: Arc<Server>) -> Result<(), AppError> {
    let relays = relay_configs(config)?;
    let keys = dkim_keys::open(&config.dkim)?;
    let certificate = config.tls.as_ref().map(|(chain, key)| Certificate::open(chain, key)).transpose()?;
    let clients = config.client_roots.as_deref().map(ClientRoots::open).transpose()?;
    let addresses = Addresses {
        http: config.http,
        https: config.https,
        metrics: config.metrics,
        smtp: config.smtp,
        smtps: config.smtps,
        lmtp: config.lmtp.as_ref(),
        data: &config.data,
    };
    let sockets = Listeners::bind(addresses).await?;
    let (stop, stopping) = watch::channel(false);
    write_addresses(config, &sockets)?;
    let mut tasks = chores(&server, &stopping);
    if relays.is_empty() {
        tracing::warn!("no relay is configured: replies wait in the queue until one is");
    } else {
        let limits = config.relays.iter().map(|entry| entry.connections_max);
        let links = relays.into_iter().zip(limits).map(|(relay, max)| RelayLink::new(relay, max)).collect();
        let run = relay::run(Arc::clone(&server), links, Arc::clone(&keys), stopping.clone());
        tasks.push(("relay", tokio::spawn(run)));
    }
    let push = push::run(Arc::clone(&server), push_config(config)?, stopping.clone());
    tasks.push(("push", tokio::spawn(push)));
    let smtp = smtp_in::serve(
        sockets.mail,
        smtp_config(config, certificate.as_ref(), clients.clone())?,
        hooks(&server),
        Arc::clone(&server.store.metrics),
        stopping.clone(),
    );
    tasks.push(("smtp", tokio::spawn(smtp)));
    tasks.push((
        "admin",
        tokio::spawn(admin_socket::serve(sockets.admin, Arc::clone(&server), stopping.clone())),
    ));
    if let Some(certificate) = &certificate {
        let (certificate, stopping) = (Arc::clone(certificate), stopping.clone());
        tasks.push(("tls", tokio::spawn(async move { certificate.keep(stopping).await })));
    }
    if let Some(clients) = clients {
        let stopping = stopping.clone();
        tasks.push(("client_roots", tokio::spawn(async move { clients.keep(stopping).await })));
    }
    if !config.dkim.is_empty() {
        let stopping = stopping.clone();
        tasks.push(("dkim", tokio::spawn(async move { keys.keep(stopping).await })));
    }
    let doors = http::doors(sockets.http, sockets.https, sockets.metrics, certificate.as_ref())?;
    tasks.push(("http", tokio::spawn(http::serve(doors, Arc::clone(&server), stopping))));
    supervisor::tell(Moment::Ready);
    tasks.push(("watchdog", tokio::spawn(supervisor::watchdog(stop.subscribe()))));
    wait_for_signal().await?;
    supervisor::tell(Moment::Stopping);
    tracing::info!("stopping: no new connections; running work ends");
    stop.send_replace(true);
    for (name, task) in tasks {
        if let Err(error) = task.await {
            tracing::error!(%error, task = name, "a task ended badly");
        }
    }
    if let Some(search) = &server.search {
        search.close();
    }
    Ok(())
}

/// What goes on beside requests, by name.
fn chores(server: &Arc<Server>, stopping: &watch::Receiver<bool>) -> Vec<(&'static str, JoinHandle<()>)> {
    let server = || Arc::clone(server);
    let stopping = || stopping.clone();
    vec![
        ("timers", tokio::spawn(background::timers(server(), stopping()))),
        ("presence", tokio::spawn(background::presence(server(), stopping()))),
        ("full text", tokio::spawn(background::index(server(), stopping()))),
        ("collector", tokio::spawn(background::collect(server(), stopping()))),
        ("purge", tokio::spawn(background::purge(server(), stopping()))),
        ("sweep", tokio::spawn(background::sweep(server(), stopping()))),
    ]
}

/// The parts that requests share.
fn open(config: &Config, store: Arc<Store>) -> Result<Arc<Server>, AppError> {
    let directory = Directory::open(&store)?;
    let authenticator = Authenticator::new(Arc::clone(&directory), store.clock.clone(), store.random.clone());
    let opened = SearchIndex::open(&config.data.join("index"), store.id(), store.clock.clone())
        .map_err(|error| AppError::Search(error.to_string()))?;
    if opened.rebuild {
        tracing::info!("full text is built from the store");
    }
    let settings = ServerSettings {
        hostname: config.hostname.clone(),
        base_url: config.base_url.clone(),
        cors_origins: config.cors_origins.clone(),
        return_path: config.return_path,
        queue: config.queue,
        relays: relay_rules(config)?,
        http_wait: config.http_wait,
        requests_per_minute: config.http_requests_per_minute,
        trust: config.trust.clone(),
    };
    Ok(Server::new(store, directory, authenticator, Some(opened.index), settings))
}

/// Tells the addresses in use: on standard output and in `DIR/addresses.json`.
fn write_addresses(config: &Config, sockets: &Listeners) -> Result<(), AppError> {
    let failed = |error| AppError::Io { what: "the addresses can't be written", error };
    let mut addresses = serde_json::Map::new();
    addresses.insert("http".into(), json!(sockets.http.local_addr().map_err(failed)?.to_string()));
    for (name, listener) in [("https", &sockets.https), ("metrics", &sockets.metrics)] {
        if let Some(listener) = listener {
            addresses.insert(name.into(), json!(listener.local_addr().map_err(failed)?.to_string()));
        }
    }
    for (listener, dialect) in &sockets.mail {
        let name = match (listener, dialect) {
            (_, Dialect::Lmtp) => "lmtp",
            (SmtpListener::Tls(_), Dialect::Smtp) => "smtps",
            (_, Dialect::Smtp) => "smtp",
        };
        let unix = match &config.lmtp {
            Some(LmtpAddress::Unix(path)) => format!("unix:{}", path.display()),
            _ => String::new(),
        };
        addresses
            .insert(name.into(), json!(listener.local_addr().map_or(unix, |address| address.to_string())));
    }
    let mut out = std::io::stdout().lock();
    for (name, address) in &addresses {
        writeln!(out, "{name}: {}", address.as_str().unwrap_or_default()).map_err(failed)?;
    }
    out.flush().map_err(failed)?;
    let text = serde_json::Value::Object(addresses).to_string();
    replace_file(&config.data.join("addresses.json"), text.as_bytes()).map_err(failed)
}

/// Whoever reads the file sees the old text or the new, never a part.
fn replace_file(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let part = path.with_extension("json.part");
    std::fs::write(&part, content)?;
    std::fs::rename(part, path)
}

fn relay_configs(config: &Config) -> Result<Vec<RelayConfig>, AppError> {
    let read = |url: &str| RelayConfig::parse(url, &config.hostname, config.relay_roots.as_deref());
    let all = config.relays.iter().map(|entry| read(&entry.url));
    all.collect::<Result<_, _>>().map_err(|error| AppError::Relay(error.to_string()))
}

/// What is known of the relays without a socket, in the order of [`relay_configs`].
fn relay_rules(config: &Config) -> Result<Vec<RelayRule>, AppError> {
    let rule = |(relay, entry): (RelayConfig, &RelayEntry)| RelayRule {
        name: relay.name(),
        senders: entry.senders.clone(),
        priority: entry.priority,
        connections_max: entry.connections_max,
        connections_per_destination_max: entry.connections_per_destination_max,
    };
    Ok(relay_configs(config)?.into_iter().zip(&config.relays).map(rule).collect())
}

/// What the start would fail of in files and URLs that a configuration names, by key.
pub fn unusable(config: &Config) -> Vec<(&'static str, AppError)> {
    let certificate = config.tls.as_ref().map(|(chain, key)| Certificate::open(chain, key)).transpose();
    let tls = certificate.and_then(|certificate| {
        certificate.map(|certificate| certificate.server_config(&[], None)).transpose().map(drop)
    });
    let clients = config.client_roots.as_deref().map(ClientRoots::open).transpose();
    [
        ("relay", relay_configs(config).map(drop)),
        ("dkim", dkim_keys::open(&config.dkim).map(drop).map_err(AppError::from)),
        ("push_roots", push_config(config).map(drop)),
        ("tls_certificate", tls.map_err(AppError::from)),
        ("client_roots", clients.map(drop).map_err(AppError::from)),
    ]
    .into_iter()
    .filter_map(|(key, done)| done.err().map(|error| (key, error)))
    .collect()
}

fn push_config(config: &Config) -> Result<PushConfig, AppError> {
    let tls = smtp_out::tls_config(config.push_roots.as_deref());
    let tls = tls.map_err(|error| AppError::Push(error.to_string()))?;
    let at_base = || config.base_url.clone().filter(|url| url.starts_with("https://"));
    let contact = config.push_contact.clone().or_else(at_base);
    Ok(PushConfig {
        guard: Guard { also: config.push_networks.clone() },
        tls: Arc::new(tls),
        subject: contact.unwrap_or_else(|| format!("mailto:postmaster@{}", config.hostname)),
    })
}

fn smtp_config(
    config: &Config,
    certificate: Option<&Arc<Certificate>>,
    clients: Option<ClientRoots>,
) -> Result<SmtpConfig, TlsError> {
    let mut smtp = SmtpConfig::new(config.hostname.clone());
    if let Some(max) = config.smtp_connections_max {
        smtp.limits.connections_max = max;
    }
    if let Some(max) = config.smtp_connections_per_address_max {
        smtp.limits.connections_per_address_max = max;
    }
    if let Some(max) = config.smtp_messages_per_minute {
        smtp.limits.messages_per_minute = Some(max).filter(|max| *max > 0);
    }
    if let Some(gateways) = &config.gateways {
        smtp.limits.gateways.clone_from(gateways);
    }
    smtp.peers = config.peers.clone();
    smtp.tls = certificate.map(|certificate| certificate.server_config(&[], clients.as_ref())).transpose()?;
    smtp.peers.clients = clients;
    Ok(smtp)
}

/// What an SMTP session asks of us.
fn hooks(server: &Arc<Server>) -> SmtpHooks {
    let (asked, delivers, logs_in) = (Arc::clone(server), Arc::clone(server), Arc::clone(server));
    SmtpHooks {
        login: Box::new(move |user, password, peer| {
            let server = Arc::clone(&logs_in);
            let remote = peer.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
            Box::pin(async move {
                let credentials = Credentials::Basic { user, password };
                server
                    .blocking(move |server| server.authenticator.login(&credentials, remote).map(|_| ()))
                    .await
            })
        }),
        recipient: Box::new(move |address| {
            let server = Arc::clone(&asked);
            Box::pin(async move {
                match server.blocking(move |server| delivery::recipient(server, &address)).await {
                    Known::Yes => RecipientAnswer::Known,
                    Known::No => RecipientAnswer::Unknown,
                    Known::OverQuota => RecipientAnswer::OverQuota,
                    Known::NoSpace => RecipientAnswer::NoSpace,
                }
            })
        }),
        deliver: Box::new(move |envelope, content| {
            let server = Arc::clone(&delivers);
            Box::pin(async move {
                let done = delivery::deliver(&server, envelope, content).await;
                done.into_iter().map(answer).collect()
            })
        }),
    }
}

fn answer(delivery: Delivery) -> DeliveryAnswer {
    match delivery {
        Delivery::Accepted(id) => DeliveryAnswer::Accepted { id },
        Delivery::Refused(why) => DeliveryAnswer::Refused(why),
        Delivery::Told(why) => DeliveryAnswer::Told(why),
        Delivery::OverQuota => DeliveryAnswer::OverQuota,
        Delivery::NoSpace => DeliveryAnswer::NoSpace,
        Delivery::TryLater => DeliveryAnswer::TryLater("the message could not be stored".to_owned()),
    }
}

async fn wait_for_signal() -> Result<(), AppError> {
    let failed = |error| AppError::Io { what: "signals can't be awaited", error };
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
