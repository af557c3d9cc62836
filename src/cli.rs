//! The command line: words in, a request to the server or the folder, words or JSON out.

mod configuration;
mod erase;
mod exchange;
mod export;
mod import;
mod inbox;
mod list;
mod logging;
mod mbox;
mod people;
mod queue;
mod quota;
mod team;

use self::configuration::Configuration;
use self::erase::Erase;
use self::export::Export;
use self::import::Import;
use self::inbox::Inbox;
use self::list::Lists;
use self::people::{AppPassword, Person};
use self::queue::Queue;
use self::quota::Quota;
use self::team::Team;
use crate::app;
use crate::auth::Directory;
use crate::config::{self, Config, LogFormat, RawConfig};
use crate::inbox::admin::{self, AdminReply, AdminRequest, Office};
use crate::inbox::admin_check::CheckLine;
use crate::inbox::admin_restore::{self, Held};
use crate::mail::search::SearchIndex;
use crate::store::{Store, StoreOptions, StoreResult, backup};
use crate::types::{Clock, Random};
use crate::wire::admin_socket;
use clap::{Args, Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A JMAP mail server for teams that answer mail together.
#[derive(Parser)]
#[command(name = "postroom", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// The data folder.
    #[arg(long, global = true, env = "POSTROOM_DATA", default_value = "./data", value_name = "DIR")]
    data: PathBuf,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  postroom serve --data /var/lib/postroom --relay smtp://127.0.0.1:25
  postroom person add ann@example.com --name Ann
  postroom inbox add support@example.com --name Support --member ann@example.com:admin
  postroom app-password add ann@example.com --inbox support@example.com --label phone

While a server runs on the folder, the other commands talk to it; else they open the folder.";

#[derive(Subcommand)]
enum Command {
    /// Run the server.
    #[command(after_help = "Examples:
  postroom serve --data ./data --relay smtp://127.0.0.1:2526
  postroom serve --config /etc/postroom.toml --lmtp unix:/run/postroom.lmtp
  postroom serve --http 127.0.0.1:0 --smtp 127.0.0.1:0    (free ports; see DIR/addresses.json)

SIGTERM and SIGINT stop it: no new connections, running work ends, exit 0.")]
    Serve(Serve),
    /// People: who logs in.
    #[command(subcommand)]
    Person(Person),
    /// Inboxes: shared addresses and their members.
    #[command(subcommand)]
    Inbox(Inbox),
    /// App passwords: for programs, and for clients that are to see one inbox only.
    #[command(subcommand, name = "app-password")]
    AppPassword(AppPassword),
    /// Quotas: what an account may hold.
    #[command(subcommand)]
    Quota(Quota),
    /// Teams: groups of people that conversations can be given to.
    #[command(subcommand)]
    Team(Team),
    /// Distribution lists: addresses whose mail goes to each of their members.
    #[command(subcommand)]
    List(Lists),
    /// The relay queue: what waits, and why.
    #[command(subcommand)]
    Queue(Queue),
    /// Destroy what conversations say, for good; their histories stay verifiable.
    #[command(subcommand)]
    Erase(Erase),
    /// Copy everything to a new folder, while the server runs.
    #[command(after_help = "Example:\n  postroom backup /backup/2026-11-24")]
    Backup {
        /// A folder that is empty or doesn't exist.
        to: PathBuf,
    },
    /// Make a data folder from a backup. Nothing goes out of it before `queue resume`.
    #[command(after_help = "Example:
  postroom restore /backup/2026-11-24 --data ./restored

What waited in the queue when the backup was made may have gone out since. The restored queue is paused, and
what waits in it is marked `perhaps relayed already`: see `postroom queue list`, take out what isn't to go
out a second time with `postroom queue cancel ID`, then `postroom queue resume`.")]
    Restore {
        /// The backup's folder.
        from: PathBuf,
    },
    /// Bring mail in from mbox files, Maildirs, .eml and folders of these, with dates, flags and folders.
    #[command(after_help = "Examples:
  postroom import --into ann@example.com ~/Maildir
  postroom import --into support@example.com --mailbox Customers/2024 old-support.mbox

What is there already is known by its content: an import that was interrupted is run again. In an inbox
old mail begins conversations that are closed. Of an mbox the fields Status and X-Status are flags, and no
part of the message. Files in folders that are neither .eml nor mbox are skipped, and named in the end.")]
    Import(Import),
    /// Write all mail of an account to files, with dates, flags and folders.
    #[command(after_help = "Examples:
  postroom export ann@example.com ./ann
  postroom export support@example.com ./support --format mbox

Import reads each of the formats back. Plain .eml has no place for flags: keep them with maildir or mbox.")]
    Export(Export),
    /// The configuration file: is it right, and what may stand in it.
    #[command(subcommand)]
    Config(Configuration),
    /// Check that everything that is kept twice agrees, on a running server too.
    #[command(after_help = "Example:\n  postroom check --json\n\nExit code 1 where something is wrong.")]
    Check,
}

#[derive(Args)]
struct Serve {
    /// A configuration file (TOML); what stands here wins over it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where JMAP listens [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDR")]
    http: Option<String>,
    /// Where SMTP listens [default: 127.0.0.1:2525].
    #[arg(long, value_name = "ADDR")]
    smtp: Option<String>,
    /// Where LMTP listens.
    #[arg(long, value_name = "ADDR|unix:PATH")]
    lmtp: Option<String>,
    /// Where replies go: smtp://HOST:PORT, smtp+starttls://USER:PASSWORD@HOST:PORT, smtps://….
    #[arg(long, value_name = "URL")]
    relay: Option<String>,
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Serve(serve) => run_server(cli.data, serve),
        Command::Restore { from } => restore(&from, &cli.data, cli.json),
        Command::Import(options) => exchange_mail(&cli.data, cli.json, |ask| import::run(&options, ask)),
        Command::Export(options) => exchange_mail(&cli.data, cli.json, |ask| export::run(&options, ask)),
        Command::Config(command) => Ok(configuration::run(&command, &cli.data, cli.json)),
        command => {
            logging::begin("warn", LogFormat::Text);
            request(command).and_then(|request| administer(&cli.data, request, cli.json))
        }
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("postroom: {error}");
            ExitCode::from(1)
        }
    }
}

fn run_server(data: PathBuf, serve: Serve) -> Result<ExitCode, String> {
    let config = server_config(data, serve)?;
    logging::begin(&config.log, config.log_format);
    app::run(config).map_err(|error| error.to_string())?;
    Ok(ExitCode::SUCCESS)
}

fn server_config(data: PathBuf, serve: Serve) -> Result<Config, String> {
    let file = match &serve.config {
        Some(path) => config::read(path).map_err(|error| error.to_string())?,
        None => RawConfig::default(),
    };
    let line = RawConfig {
        http: serve.http,
        smtp: serve.smtp,
        lmtp: serve.lmtp,
        relay: serve.relay,
        ..RawConfig::default()
    };
    file.overlaid(line).check(data).map_err(|error| error.to_string())
}

fn restore(from: &Path, data: &Path, json: bool) -> Result<ExitCode, String> {
    logging::begin("warn", LogFormat::Text);
    let config = RawConfig::default().check(data.to_owned()).map_err(|error| error.to_string())?;
    let mut held = Held::default();
    let restored = backup::restore(from, data, &mut |part| {
        held = hold_queue(part, &config.hostname)?;
        Ok(())
    });
    restored.map_err(|error| error.to_string())?;
    let (folder, Held { queued, scheduled }) = (data.display(), held);
    if json {
        let queue = serde_json::json!({"paused": true, "waiting": queued, "scheduled": scheduled});
        println!("{:#}", serde_json::json!({"restored": folder.to_string(), "queue": queue}));
        return Ok(ExitCode::SUCCESS);
    }
    println!("restored to {folder}; run `postroom check --data {folder}` next");
    println!("The queue is PAUSED: nothing goes out until `postroom queue resume`.");
    if queued + scheduled > 0 {
        println!(
            "{queued} messages wait in it, and {scheduled} scheduled ones are due: any of them may have gone\n\
             out since the backup. `postroom queue list` shows them; take out what isn't to go out a second\n\
             time with `postroom queue cancel ID` before you resume."
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Nothing that waits in a store that comes back goes out before somebody has said so.
fn hold_queue(folder: &Path, hostname: &str) -> StoreResult<Held> {
    let store = Store::open(folder, StoreOptions::default(), Clock::system(), Random::system())?;
    let directory = Directory::open(&store)?;
    let office = Office { store: &store, directory: &directory, search: None, relays: None, hostname };
    let held = admin_restore::hold_queue(office);
    store.close();
    held
}

fn request(command: Command) -> Result<AdminRequest, String> {
    Ok(match command {
        Command::Person(person) => person.request()?,
        Command::Inbox(inbox) => inbox.request()?,
        Command::AppPassword(password) => password.request(),
        Command::Queue(queue) => AdminRequest::Queue(queue.request()),
        Command::List(list) => AdminRequest::List(list.request()),
        Command::Quota(quota) => quota.request(),
        Command::Backup { to } => {
            // The server has another working directory.
            let to = std::path::absolute(&to).map_err(|error| error.to_string())?;
            AdminRequest::Backup { to }
        }
        Command::Erase(erase) => AdminRequest::Erase(erase.request()?),
        Command::Team(team) => AdminRequest::Team(team.request()),
        Command::Check => AdminRequest::Check,
        Command::Serve(_)
        | Command::Restore { .. }
        | Command::Config(_)
        | Command::Import(_)
        | Command::Export(_) => {
            return Err("that is no request".to_owned());
        }
    })
}

/// Has the request done, by the server that runs on the folder or on the folder itself.
fn done(data: &Path, request: AdminRequest) -> Result<AdminReply, String> {
    match admin_socket::ask(data, &request) {
        Ok(Some(reply)) => reply,
        Ok(None) => offline(data, request),
        Err(error) => Err(format!("the server on {} doesn't answer: {error}", data.display())),
    }
}

/// Runs a command of many requests, and prints what it says in the end.
fn exchange_mail(
    data: &Path,
    json: bool,
    command: impl FnOnce(exchange::Ask<'_>) -> Result<serde_json::Value, String>,
) -> Result<ExitCode, String> {
    logging::begin("warn", LogFormat::Text);
    let told = command(&|request| done(data, request))?;
    if json {
        println!("{told:#}");
    } else {
        let members = told.as_object().into_iter().flatten();
        members.for_each(|(name, value)| println!("{name}: {value}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn administer(data: &Path, request: AdminRequest, json: bool) -> Result<ExitCode, String> {
    let reply = done(data, request)?;
    if json {
        let text = serde_json::to_string_pretty(&reply).map_err(|error| error.to_string())?;
        println!("{text}");
    } else {
        print(&reply);
    }
    let faulty = matches!(&reply, AdminReply::Checked(check) if !check.faults.is_empty());
    Ok(if faulty { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn offline(data: &Path, request: AdminRequest) -> Result<AdminReply, String> {
    let config = RawConfig::default().check(data.to_owned()).map_err(|error| error.to_string())?;
    let store = app::open_store(&config).map_err(|error| error.to_string())?;
    let directory = Directory::open(&store).map_err(|error| error.to_string())?;
    let search = match &request {
        AdminRequest::Backup { .. } | AdminRequest::Erase(_) => {
            SearchIndex::open(&data.join("index"), store.id(), store.clock.clone())
                .ok()
                .map(|opened| opened.index)
        }
        _ => None,
    };
    let hostname = config.hostname.as_str();
    let erases = matches!(request, AdminRequest::Erase(_));
    // Nothing feeds full text here, so that the end of erasing can't wait for it.
    let heard = search.as_ref().filter(|_| !erases);
    let office = Office { store: &store, directory: &directory, search: heard, relays: None, hostname };
    let mut reply = admin::run(office, request).map_err(|error| error.to_string());
    if let (Ok(_), Some(search), true) = (&reply, &search, erases)
        && let Err(error) = erase::purge_search(&store, &directory, search)
    {
        reply = Err(error);
    }
    if let Some(search) = search {
        search.close();
    }
    store.close();
    reply
}

fn print(reply: &AdminReply) {
    match reply {
        AdminReply::Person { email, name, id, account_id, password } => {
            println!("{name} <{email}> is person {id}");
            if let Some(account) = account_id {
                println!("mail account: {account}");
            }
            if let Some(password) = password {
                println!("password: {password}");
            }
        }
        AdminReply::People { people } => {
            for person in people {
                let state = if person.disabled { "disabled" } else { "active" };
                println!("{}\t{}\t{}\t{state}", person.id, person.email, person.name);
            }
        }
        AdminReply::Inbox { email, name, account_id } => {
            println!("{name} <{email}> is inbox account {account_id}");
        }
        AdminReply::Inboxes { inboxes } => {
            for inbox in inboxes {
                println!("{}\t{}\t{}", inbox.account_id, inbox.email, inbox.name);
                for alias in &inbox.aliases {
                    println!("\talias\t{alias}");
                }
                for (email, role) in &inbox.members {
                    println!("\t{role}\t{email}");
                }
            }
        }
        AdminReply::AppPassword { id, secret } => {
            println!("app password {id}: {secret}\nIt is shown this once.");
        }
        AdminReply::AppPasswords { passwords } => {
            for one in passwords {
                println!("{}\t{}\t{}\t{}", one.id, one.email, one.inbox.as_deref().unwrap_or("-"), one.label);
            }
        }
        AdminReply::Teams { teams } => {
            for team in teams {
                let state = if team.disabled { "disabled" } else { "active" };
                println!("{}\t{}\t{state}\t{}", team.id, team.name, team.members.join(" "));
            }
        }
        AdminReply::Queue(report) => queue::print(report),
        AdminReply::Lists { lists } => list::print(lists),
        AdminReply::Quota(report) => quota::print(report),
        AdminReply::Erased(report) => erase::print(report),
        AdminReply::Checked(check) => print_check(check),
        AdminReply::Done | AdminReply::Imported(_) | AdminReply::Exported(_) => println!("done"),
    }
}

fn print_check(check: &CheckLine) {
    println!(
        "{} accounts, {} emails, {} threads, {} conversations, {} activities, {} blobs",
        check.accounts, check.emails, check.threads, check.conversations, check.activities, check.blobs
    );
    if let Some(lag) = check.search_lag {
        println!("full text is {lag} changes behind");
    }
    for fault in &check.faults {
        println!("fault: {fault}");
    }
    println!("{}", if check.faults.is_empty() { "clean" } else { "NOT clean" });
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn assert_has_examples(command: &clap::Command, path: &str) {
        let path = format!("{path} {}", command.get_name());
        for below in command.get_subcommands() {
            assert_has_examples(below, &path);
        }
        if command.get_subcommands().next().is_none() {
            let help = command.get_after_help().map(|help| help.to_string()).unwrap_or_default();
            assert!(help.contains("Example") && help.contains(path.trim()), "{path} has no example");
        }
    }

    #[test]
    fn every_command_has_an_example_in_its_help() {
        assert_has_examples(&Cli::command(), "");
    }
}
