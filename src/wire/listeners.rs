//! All that listens: bound together at start, so that a server either has all its sockets or
//! doesn't start.

use super::admin_socket;
use super::smtp_in::SmtpListener;
use crate::smtp::session::Dialect;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tokio::net::{TcpListener, UnixListener};

/// Where LMTP listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LmtpAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// What to listen on; port 0 takes a free one.
#[derive(Clone, Copy, Debug)]
pub struct Addresses<'a> {
    pub http: SocketAddr,
    pub https: Option<SocketAddr>,
    /// Figures for operators, not for the public.
    pub metrics: Option<SocketAddr>,
    pub smtp: SocketAddr,
    /// SMTP with TLS from the first octet (RFC 8314 §3.3).
    pub smtps: Option<SocketAddr>,
    pub lmtp: Option<&'a LmtpAddress>,
    /// The data folder, where the admin socket is.
    pub data: &'a Path,
}

/// The bound sockets.
#[derive(Debug)]
pub struct Listeners {
    pub http: TcpListener,
    pub https: Option<TcpListener>,
    pub metrics: Option<TcpListener>,
    pub mail: Vec<(SmtpListener, Dialect)>,
    pub admin: UnixListener,
}

/// A socket that can't be had.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on {what}: {error}")]
pub struct ListenError {
    what: String,
    error: io::Error,
}

impl Listeners {
    /// Binds all of them.
    pub async fn bind(on: Addresses<'_>) -> Result<Self, ListenError> {
        let failed = |what: String| move |error| ListenError { what, error };
        let http = TcpListener::bind(on.http).await.map_err(failed(format!("{} for HTTP", on.http)))?;
        let https = match on.https {
            Some(address) => {
                Some(TcpListener::bind(address).await.map_err(failed(format!("{address} for HTTPS")))?)
            }
            None => None,
        };
        let metrics = match on.metrics {
            Some(address) => {
                Some(TcpListener::bind(address).await.map_err(failed(format!("{address} for metrics")))?)
            }
            None => None,
        };
        let smtp = SmtpListener::tcp(on.smtp).await.map_err(failed(format!("{} for SMTP", on.smtp)))?;
        let mut mail = vec![(smtp, Dialect::Smtp)];
        if let Some(address) = on.smtps {
            let smtps = SmtpListener::tls(address).await;
            mail.push((smtps.map_err(failed(format!("{address} for SMTPS")))?, Dialect::Smtp));
        }
        let lmtp = match on.lmtp {
            Some(LmtpAddress::Tcp(address)) => {
                Some(SmtpListener::tcp(*address).await.map_err(failed(format!("{address} for LMTP")))?)
            }
            Some(LmtpAddress::Unix(path)) => {
                Some(SmtpListener::unix(path).await.map_err(failed(format!("{} for LMTP", path.display())))?)
            }
            None => None,
        };
        mail.extend(lmtp.map(|lmtp| (lmtp, Dialect::Lmtp)));
        let admin = admin_socket::listen(on.data).map_err(failed("the admin socket".to_owned()))?;
        Ok(Self { http, https, metrics, mail, admin })
    }
}
