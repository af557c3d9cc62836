//! Death and loss of power under real, parallel deliveries and team work: what was acknowledged is
//! there once, and `check` finds nothing.

#![expect(clippy::unwrap_used, reason = "what fails in a helper of a test is to fail the test")]

use super::admin::{self, AdminReply, AdminRequest, Office};
use super::admin_inbox::InboxRequest;
use super::change::Change;
use super::delivery::{self, Delivery};
use super::desk::Desk;
use super::machine::{Actor, Event, Expect};
use super::server::{self, Server, ServerSettings};
use crate::auth::{Authenticator, Directory};
use crate::mail::envelope::{Envelope, Protocol};
use crate::mail::thread;
use crate::store::engine::{Hook, Point};
use crate::store::rows::team::ConversationRow;
use crate::store::{Read, Store, StoreOptions, keys};
use crate::types::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

const GATEWAYS: usize = 4;
const MESSAGES: usize = 6;
/// Small, so that several logs are there at once.
const WRITE_BUFFER_BYTES: usize = 96 * 1024;

fn open(dir: &Path, hook: Option<Hook>) -> Arc<Server> {
    let options = StoreOptions {
        hook,
        on_fatal: |_| {},
        disk_free_bytes_min: 0,
        write_buffer_bytes: WRITE_BUFFER_BYTES,
        ..StoreOptions::default()
    };
    let store =
        Store::open(dir, options, Clock::manual(Millis(1_790_000_000_000)), Random::seeded(5)).unwrap();
    let directory = Directory::open(&store).unwrap();
    let authenticator = Authenticator::new(Arc::clone(&directory), store.clock.clone(), store.random.clone());
    let settings = ServerSettings {
        hostname: "mail.x.example".into(),
        base_url: None,
        cors_origins: Vec::new(),
        return_path: Default::default(),
        queue: Default::default(),
        relays: Default::default(),
        http_wait: std::time::Duration::from_secs(60),
        requests_per_minute: None,
        trust: Default::default(),
    };
    Server::new(store, directory, authenticator, None, settings)
}

fn office(server: &Server) -> Office<'_> {
    Office {
        store: &server.store,
        directory: &server.directory,
        search: None,
        relays: None,
        hostname: "mail.x.example",
    }
}

/// A folder with a person and two inboxes, and a first conversation in each.
fn prepared() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let server = open(dir.path(), None);
    let person = AdminRequest::PersonAdd {
        email: "ann@x.example".into(),
        name: "Ann".into(),
        password: Some("secret".into()),
        mailbox: true,
    };
    admin::run(office(&server), person).unwrap();
    for email in ["support@x.example", "billing@x.example"] {
        let members = vec![("ann@x.example".to_owned(), "agent".to_owned())];
        let inbox = AdminRequest::Inbox(InboxRequest::Add {
            email: email.into(),
            name: email.into(),
            aliases: vec![],
            members,
        });
        admin::run(office(&server), inbox).unwrap();
    }
    let done = runtime().block_on(deliver(&server, "first"));
    assert!(done.iter().all(|one| matches!(one, Delivery::Accepted(_))), "{done:?}");
    server.store.close();
    dir
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Every file under a folder with its content, by its path in there.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![dir.to_owned()]);
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(content) = std::fs::read(&path) {
                found.insert(path.strip_prefix(dir).unwrap().to_owned(), content);
            }
        }
    }
    found
}

/// The files of a folder as they are at one moment: an engine that is open may still write tables and
/// take away logs, so it is read until twice the same was there.
fn at_one_moment(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut before = files(dir);
    loop {
        let now = files(dir);
        if now == before {
            return now;
        }
        before = now;
    }
}

fn write(files: &BTreeMap<PathBuf, Vec<u8>>, to: &Path) {
    for (path, content) in files {
        let path = to.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    write(&files(from), to);
}

/// One message to a person and two inboxes, large enough to fill logs.
async fn deliver(server: &Arc<Server>, id: &str) -> Vec<Delivery> {
    let to = ["ann@x.example", "support@x.example", "billing@x.example"];
    // Text that no compression makes small.
    let hashes = (0..500_u32).map(|n| blake3::hash(format!("{id}{n}").as_bytes()).to_hex().to_string());
    let noise = hashes.collect::<Vec<_>>().join("\r\n");
    let text = format!(
        "Date: Tue, 17 Nov 2026 10:00:00 +0000\r\nFrom: m@c.example\r\nTo: {}\r\nSubject: {id}\r\n\
         Message-ID: <{id}@c.example>\r\n\r\n{noise}\r\n",
        to.join(", ")
    );
    let envelope = Envelope {
        recipients: to.iter().map(|to| Address::parse(to).unwrap()).collect(),
        ..Envelope::new("gateway".into(), Protocol::Esmtp, Address::parse("m@c.example"))
    };
    delivery::deliver(server, envelope, text.into_bytes()).await
}

/// What was acknowledged: message ids with how many accounts have them, and the last tag.
#[derive(Clone, Default, Debug)]
struct Acknowledged {
    messages: Vec<String>,
    tag: u32,
}

/// Ann tags the first conversation of support@, a number higher each time, until the store dies.
fn tag_until_dead(server: &Server, told: &Mutex<Acknowledged>, done: &AtomicBool) {
    let account = support(server);
    for number in 1.. {
        if done.load(Ordering::SeqCst) {
            return;
        }
        let locked = server.store.lock_blocking(&[account]);
        let staff = server::staff(&server.directory.current(), account);
        let principal = *staff.roster.members.keys().next().unwrap();
        let mut txn = server.store.begin(&locked);
        let actor = Actor::Member { principal, role: MemberRole::Agent };
        let Ok(mut desk) = Desk::open(&mut txn, account, actor, &staff) else { return };
        let change = Change { tags: Some(vec![format!("n{number}")]), ..Change::default() };
        let set = Event::Set { change, expect: Expect::default() };
        if desk.apply(ConversationId(1), &set, Vec::new()).is_err() {
            return;
        }
        let Ok(committed) = txn.commit() else { return };
        drop(locked);
        if server.store.durable_blocking(committed.ticket).is_err() {
            return;
        }
        told.lock().unwrap().tag = number;
    }
}

fn support(server: &Server) -> AccountId {
    let address = Address::parse("support@x.example").unwrap();
    server.directory.current().account_by_address(&address).unwrap()
}

/// Parallel gateways and a member at work, until all is delivered or the store is dead.
fn load(server: &Arc<Server>) -> Acknowledged {
    let told = Mutex::new(Acknowledged::default());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let tagging = scope.spawn(|| tag_until_dead(server, &told, &done));
        runtime().block_on(async {
            let tasks: Vec<_> = (0..GATEWAYS)
                .map(|gateway| {
                    let server = Arc::clone(server);
                    tokio::spawn(async move {
                        let mut taken = Vec::new();
                        for n in 0..MESSAGES {
                            let id = format!("g{gateway}n{n}");
                            let answers = deliver(&server, &id).await;
                            if answers.iter().all(|one| matches!(one, Delivery::Accepted(_))) {
                                taken.push(id);
                            }
                        }
                        taken
                    })
                })
                .collect();
            for task in tasks {
                let taken = task.await.unwrap();
                told.lock().unwrap().messages.extend(taken);
            }
        });
        done.store(true, Ordering::SeqCst);
        tagging.join().unwrap();
    });
    told.into_inner().unwrap()
}

/// Opens the folder again: nothing acknowledged is missing, nothing is doubled, `check` is clean.
fn verify(dir: &Path, told: &Acknowledged, what: &str) {
    let server = open(dir, None);
    let report = admin::run(office(&server), AdminRequest::Check).unwrap();
    let AdminReply::Checked(report) = report else { panic!("{report:?}") };
    assert_eq!(report.faults, Vec::<String>::new(), "{what}");
    let view = server.directory.current();
    let accounts: Vec<AccountId> = view.accounts().map(|(id, _)| id).collect();
    assert_eq!(accounts.len(), 3, "{what}");
    let snapshot = server.store.snapshot();
    let first = "first".to_owned();
    for id in told.messages.iter().chain([&first]) {
        for account in &accounts {
            let message_id = format!("{id}@c.example");
            let found = thread::emails_with_message_id(&snapshot, *account, &message_id).unwrap();
            assert_eq!(found.len(), 1, "{what}: {id} in {account}");
        }
    }
    let row: ConversationRow =
        (&snapshot as &dyn Read).row(support(&server), ConversationId(1)).unwrap().unwrap();
    let tag: u32 = row.tags.first().map_or(0, |tag| tag[1..].parse().unwrap());
    assert!(tag >= told.tag, "{what}: tag {} was acknowledged, there is {tag}", told.tag);
    assert!(
        !(&snapshot as &dyn Read)
            .ids(&keys::all(accounts[0], keys::Kind::Email), false, 9)
            .unwrap()
            .is_empty()
    );
    server.store.close();
}

#[test]
fn a_death_at_any_write_or_sync_under_parallel_deliveries_loses_nothing_acknowledged() {
    let template = prepared();
    for point in [Point::BeforeWrite, Point::AfterWrite, Point::BeforeSync, Point::AfterSync] {
        for nth in [1, 2, 3, 5, 8, 13] {
            let what = format!("{point:?} {nth}");
            let dir = tempfile::tempdir().unwrap();
            copy(template.path(), dir.path());
            let count = AtomicUsize::new(0);
            let hook =
                Hook(Arc::new(move |at| at != point || count.fetch_add(1, Ordering::SeqCst) + 1 < nth));
            let server = open(dir.path(), Some(hook));
            let told = load(&server);
            assert!(told.messages.len() < GATEWAYS * MESSAGES, "{what}: it must have died");
            drop(server);
            verify(dir.path(), &told, &what);
        }
    }
}

/// Every log of the engine with its length.
fn logs(dir: &Path) -> BTreeMap<PathBuf, u64> {
    let entries = std::fs::read_dir(dir.join("store")).unwrap().map(|entry| entry.unwrap().path());
    let logs = entries.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.filter_map(|path| Some((path.clone(), path.metadata().ok()?.len()))).collect()
}

/// A folder as a loss of power leaves it: of the newest log at least what was synced, cut anywhere
/// behind, with zeros or garbage, or nothing where it was never synced. The older ones are whole: with
/// several column families the engine syncs a closed log itself before it writes its tables.
fn after_power_loss(
    dead: &BTreeMap<PathBuf, Vec<u8>>,
    synced: &BTreeMap<PathBuf, u64>,
    dice: &mut u64,
) -> tempfile::TempDir {
    let mut roll = |sides: u64| {
        *dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*dice >> 33) % sides.max(1)
    };
    let out = tempfile::tempdir().unwrap();
    write(dead, out.path());
    if let Some((log, end)) = logs(out.path()).pop_last() {
        let name = log.file_name().unwrap();
        let safe =
            synced.iter().find(|(known, _)| known.file_name() == Some(name)).map_or(0, |(_, safe)| *safe);
        if safe == 0 && roll(3) == 0 {
            std::fs::remove_file(&log).unwrap();
            return out;
        }
        let mut bytes = std::fs::read(&log).unwrap();
        bytes.truncate((safe + roll(end.saturating_sub(safe) + 1)) as usize);
        let behind = (bytes.len() as u64) < end;
        match roll(3) {
            0 if behind => bytes.resize(end as usize, 0),
            1 if behind => bytes.resize_with(end as usize, || roll(256) as u8),
            _ => {}
        }
        std::fs::write(&log, bytes).unwrap();
    }
    out
}

#[test]
fn a_loss_of_power_under_parallel_deliveries_with_several_logs_loses_nothing_acknowledged() {
    let template = prepared();
    let mut most = BTreeSet::new();
    let mut dice = 2026;
    for nth in [4, 9, 15] {
        let dir = tempfile::tempdir().unwrap();
        copy(template.path(), dir.path());
        let synced: Arc<Mutex<BTreeMap<PathBuf, u64>>> = Arc::default();
        let (lengths, folder, syncs) = (Arc::clone(&synced), dir.path().to_owned(), AtomicUsize::new(0));
        let hook = Hook(Arc::new(move |at| match at {
            // What is there before a sync is safe once it has returned; the last one never happens.
            Point::BeforeSync if syncs.fetch_add(1, Ordering::SeqCst) < nth => {
                *lengths.lock().unwrap() = logs(&folder);
                true
            }
            Point::BeforeSync => false,
            _ => true,
        }));
        let server = open(dir.path(), Some(hook));
        let told = load(&server);
        most.insert(logs(dir.path()).len());
        // The dead server stays open: closing it would write what the power loss takes away.
        let dead = at_one_moment(dir.path());
        for cut in 0..8 {
            let what = format!("sync {nth}, cut {cut}");
            let copied = after_power_loss(&dead, &synced.lock().unwrap(), &mut dice);
            verify(copied.path(), &told, &what);
        }
    }
    assert!(most.iter().any(|logs| *logs > 1), "never more than one log: {most:?}");
}
