//! The admin socket: `DIR/admin.sock`, which only the folder's owner can open. One line of JSON
//! asks, one line answers: `{"ok": …}` or `{"error": "…"}`.
//!
//! A unix socket's path is short; a folder with a longer one is reached through its descriptor.

use super::http::stopped;
use crate::inbox::admin::{self, AdminReply, AdminRequest, Office};
use crate::inbox::server::Server;
use crate::types::limits::ADMIN_REQUEST_BYTES_MAX;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

const NAME: &str = "admin.sock";
/// What `sun_path` holds, less its end.
const PATH_BYTES_MAX: usize = 100;

/// An answer as it is written.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Ok(AdminReply),
    Error(String),
}

/// A path to the socket that is short enough, and what must stay open as long as it is used.
fn short_path(dir: &Path) -> io::Result<(PathBuf, Option<File>)> {
    let path = dir.join(NAME);
    if path.as_os_str().len() <= PATH_BYTES_MAX {
        return Ok((path, None));
    }
    let folder = File::open(dir)?;
    Ok((PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(NAME), Some(folder)))
}

/// Listens in the folder. The folder is claimed, so a socket that stands there is a dead one.
pub fn listen(dir: &Path) -> io::Result<UnixListener> {
    let _ = std::fs::remove_file(dir.join(NAME));
    let (path, _folder) = short_path(dir)?;
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(dir.join(NAME), std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers until `stopping` says true.
pub async fn serve(listener: UnixListener, server: Arc<Server>, mut stopping: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    tokio::spawn(one(stream, Arc::clone(&server)));
                }
                Err(error) => {
                    tracing::warn!(%error, "the admin socket could not accept");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            },
            () = stopped(&mut stopping) => return,
        }
    }
}

async fn one(stream: UnixStream, server: Arc<Server>) {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut read = tokio::io::BufReader::new(read.take(ADMIN_REQUEST_BYTES_MAX as u64));
    if read.read_line(&mut line).await.is_err() {
        return;
    }
    let answer = match serde_json::from_str::<AdminRequest>(&line) {
        Ok(request) => server.blocking(move |server| answer(server, request)).await,
        Err(error) => Answer::Error(format!("the request can't be read: {error}")),
    };
    let mut text = serde_json::to_string(&answer)
        .unwrap_or_else(|error| format!("{{\"error\":\"the answer can't be written: {error}\"}}"));
    text.push('\n');
    if let Err(error) = write.write_all(text.as_bytes()).await {
        tracing::debug!(%error, "nobody waits for an admin answer any more");
    }
}

fn answer(server: &Arc<Server>, request: AdminRequest) -> Answer {
    let office = Office {
        store: &server.store,
        directory: &server.directory,
        search: server.search.as_ref(),
        relays: Some(&server.relays),
        hostname: &server.settings.hostname,
    };
    match admin::run(office, request) {
        Ok(reply) => Answer::Ok(reply),
        Err(error) => Answer::Error(error.to_string()),
    }
}

/// Asks the server that runs on the folder; `None` where none does.
pub fn ask(dir: &Path, request: &AdminRequest) -> io::Result<Option<Result<AdminReply, String>>> {
    let (path, _folder) = match short_path(dir) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut stream = match std::os::unix::net::UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let mut text = serde_json::to_string(request).map_err(io::Error::other)?;
    text.push('\n');
    stream.write_all(text.as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    match serde_json::from_str::<Answer>(&line).map_err(io::Error::other)? {
        Answer::Ok(reply) => Ok(Some(Ok(reply))),
        Answer::Error(error) => Ok(Some(Err(error))),
    }
}
