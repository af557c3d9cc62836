//! The command line: words in, a request to the server or the folder, words or JSON out.

mod configuration;
mod erase;
mod exchange;
mod export;
mod import;
mod list;
mod logging;
mod queue;

use self::configuration::Configuration;
use self::erase::Erase;
use self::export::Export;
use self::import::Import;
use self::list::Lists;
use self::queue::Queue;
use crate::app;
use crate::auth::Directory;
use crate::config::{self, Config, LogFormat, RawConfig};
use crate::inbox::admin::{self, AdminReply, AdminRequest, Office};
use crate::inbox::admin_check::CheckLine;
use crate::inbox::admin_quota::{Limit, QuotaChange, QuotaReport};
use crate::inbox::admin_team::TeamRequest;
use crate::mail::search::SearchIndex;
use crate::store::backup;
use crate::wire::admin_socket;
use clap::{Args, Parser, Subcommand};
use std::io::{BufRead, IsTerminal, Write};
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
    /// Make a data folder from a backup.
    #[command(after_help = "Example:\n  postroom restore /backup/2026-11-24 --data ./restored")]
    Restore {
        /// The backup's folder.
        from: PathBuf,
    },
    /// Bring mail in from mbox files, Maildirs and folders of .eml, with dates, flags and folders.
    #[command(after_help = "Examples:
  postroom import --into ann@example.com ~/Maildir
  postroom import --into support@example.com --mailbox Customers/2024 old-support.mbox

What is there already is known by its content: an import that was interrupted is run again. In an inbox
old mail begins conversations that are closed.")]
    Import(Import),
    /// Write all mail of an account to files, with dates, flags and folders.
    #[command(after_help = "Examples:
  postroom export ann@example.com ./ann
  postroom export support@example.com ./support --format mbox")]
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

#[derive(Subcommand)]
enum Person {
    /// Add a person, with a mail account of their own.
    #[command(after_help = "Examples:
  postroom person add ann@example.com --name Ann
  echo 'a long secret' | postroom person add ann@example.com --name Ann --password-stdin
  postroom person add ann@example.com --name Ann --no-mailbox")]
    Add {
        email: String,
        #[arg(long)]
        name: String,
        #[command(flatten)]
        password: PasswordFrom,
        /// The person works in inboxes only.
        #[arg(long)]
        no_mailbox: bool,
    },
    /// List all people.
    List,
    /// Let a person in nowhere any more; what they own in inboxes becomes unowned.
    #[command(after_help = "Example:\n  postroom person disable ann@example.com")]
    Disable { email: String },
    /// Set a person's password.
    #[command(
        after_help = "Example:\n  postroom person password ann@example.com --password-stdin < secret.txt"
    )]
    Password {
        email: String,
        #[command(flatten)]
        password: PasswordFrom,
    },
}

#[derive(Args)]
struct PasswordFrom {
    /// Read the password from the first line of standard input. Without it a terminal is asked, and
    /// where there is none a password is made and printed.
    #[arg(long)]
    password_stdin: bool,
}

#[derive(Subcommand)]
enum Inbox {
    /// Add an inbox.
    #[command(after_help = "Examples:
  postroom inbox add support@example.com --name Support
  postroom inbox add support@example.com --name Support --alias help@example.com \\
      --member ann@example.com:admin --member bob@example.com:agent

Roles: observer (reads), agent (works and replies), lead (takes over), admin.")]
    Add {
        email: String,
        #[arg(long)]
        name: String,
        /// A further address of the inbox.
        #[arg(long, value_name = "EMAIL")]
        alias: Vec<String>,
        /// A member and their role.
        #[arg(long, value_name = "EMAIL:ROLE")]
        member: Vec<String>,
    },
    /// List all inboxes with their members.
    List,
    /// Members of an inbox.
    #[command(subcommand)]
    Member(Member),
}

#[derive(Subcommand)]
enum Member {
    /// Add a member, or change their role.
    #[command(after_help = "Example:\n  postroom inbox member add support@example.com bob@example.com:lead")]
    Add {
        inbox: String,
        #[arg(value_name = "EMAIL:ROLE")]
        member: String,
    },
    /// Remove a member; what they own becomes unowned.
    #[command(after_help = "Example:\n  postroom inbox member remove support@example.com bob@example.com")]
    Remove { inbox: String, email: String },
}

#[derive(Subcommand)]
enum Team {
    /// Add a team. An inbox knows it once it has one of the inbox's members.
    #[command(
        after_help = "Example:\n  postroom team add Billing --member ann@example.com --member bob@example.com"
    )]
    Add {
        name: String,
        #[arg(long, value_name = "EMAIL")]
        member: Vec<String>,
    },
    /// List all teams with their people.
    List,
    /// Give nothing new to a team; what it has keeps its name.
    Disable { team: String },
    /// Put somebody into a team.
    #[command(after_help = "Example:\n  postroom team join Billing cat@example.com")]
    Join { team: String, email: String },
    /// Take somebody out of a team.
    Leave { team: String, email: String },
}

#[derive(Subcommand)]
enum AppPassword {
    /// Make an app password; its secret is printed this once.
    #[command(after_help = "Examples:
  postroom app-password add ann@example.com --label laptop
  postroom app-password add ann@example.com --inbox support@example.com --label phone")]
    Add {
        email: String,
        /// It opens this inbox and nothing else.
        #[arg(long, value_name = "EMAIL")]
        inbox: Option<String>,
        /// What it is for.
        #[arg(long, default_value = "")]
        label: String,
    },
    /// List app passwords, without their secrets.
    List { email: Option<String> },
    /// Revoke an app password; open channels end at once.
    #[command(after_help = "Example:\n  postroom app-password revoke kb")]
    Revoke { id: String },
}

#[derive(Subcommand)]
enum Quota {
    /// Give an account limits of its own. At the soft limit clients add nothing more, at the hard
    /// limit nothing more comes in either: the gateway is told to try again later.
    #[command(after_help = "Examples:
  postroom quota set support@example.com --octets 50000000000 --octets-warn 45000000000
  postroom quota set ann@example.com --messages 100000 --messages-soft 99000
  postroom quota set ann@example.com --reset        (the server's limits hold again)")]
    Set {
        email: String,
        #[arg(long, value_name = "OCTETS")]
        octets: Option<u64>,
        #[arg(long, value_name = "OCTETS", requires = "octets")]
        octets_soft: Option<u64>,
        #[arg(long, value_name = "OCTETS", requires = "octets")]
        octets_warn: Option<u64>,
        #[arg(long, value_name = "COUNT")]
        messages: Option<u64>,
        #[arg(long, value_name = "COUNT", requires = "messages")]
        messages_soft: Option<u64>,
        #[arg(long, value_name = "COUNT", requires = "messages")]
        messages_warn: Option<u64>,
        /// Forget the account's own limits, but for those named here.
        #[arg(long)]
        reset: bool,
    },
    /// Show what an account holds and may hold.
    #[command(after_help = "Example:\n  postroom quota show support@example.com --json")]
    Show { email: String },
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Serve(serve) => run_server(cli.data, serve),
        Command::Restore { from } => restore(&from, &cli.data),
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

fn restore(from: &Path, data: &Path) -> Result<ExitCode, String> {
    backup::restore(from, data).map_err(|error| error.to_string())?;
    println!("restored to {}; run `postroom check --data {}` next", data.display(), data.display());
    Ok(ExitCode::SUCCESS)
}

fn request(command: Command) -> Result<AdminRequest, String> {
    Ok(match command {
        Command::Person(Person::Add { email, name, password, no_mailbox }) => {
            AdminRequest::PersonAdd { email, name, password: password.read()?, mailbox: !no_mailbox }
        }
        Command::Person(Person::List) => AdminRequest::PersonList,
        Command::Person(Person::Disable { email }) => AdminRequest::PersonDisable { email },
        Command::Person(Person::Password { email, password }) => {
            AdminRequest::PersonPassword { email, password: password.read()? }
        }
        Command::Inbox(Inbox::Add { email, name, alias, member }) => {
            let members = member.iter().map(|text| member_and_role(text)).collect::<Result<_, _>>()?;
            AdminRequest::InboxAdd { email, name, aliases: alias, members }
        }
        Command::Inbox(Inbox::List) => AdminRequest::InboxList,
        Command::Inbox(Inbox::Member(Member::Add { inbox, member })) => {
            let (email, role) = member_and_role(&member)?;
            AdminRequest::MemberAdd { inbox, email, role }
        }
        Command::Inbox(Inbox::Member(Member::Remove { inbox, email })) => {
            AdminRequest::MemberRemove { inbox, email }
        }
        Command::AppPassword(AppPassword::Add { email, inbox, label }) => {
            AdminRequest::AppPasswordAdd { email, inbox, label }
        }
        Command::AppPassword(AppPassword::List { email }) => AdminRequest::AppPasswordList { email },
        Command::AppPassword(AppPassword::Revoke { id }) => AdminRequest::AppPasswordRevoke { id },
        Command::Queue(queue) => AdminRequest::Queue(queue.request()),
        Command::List(list) => AdminRequest::List(list.request()),
        Command::Quota(Quota::Show { email }) => AdminRequest::QuotaShow { email },
        Command::Quota(Quota::Set {
            email,
            octets,
            octets_soft,
            octets_warn,
            messages,
            messages_soft,
            messages_warn,
            reset,
        }) => {
            let limit = |hard: Option<u64>, soft, warn| hard.map(|hard| Limit { hard, soft, warn });
            let octets = limit(octets, octets_soft, octets_warn);
            let messages = limit(messages, messages_soft, messages_warn);
            AdminRequest::QuotaSet(QuotaChange { email, octets, messages, reset })
        }
        Command::Backup { to } => {
            // The server has another working directory.
            let to = std::path::absolute(&to).map_err(|error| error.to_string())?;
            AdminRequest::Backup { to }
        }
        Command::Erase(erase) => AdminRequest::Erase(erase.request()?),
        Command::Team(team) => AdminRequest::Team(team_request(team)),
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

fn team_request(team: Team) -> TeamRequest {
    match team {
        Team::Add { name, member } => TeamRequest::Add { name, members: member },
        Team::List => TeamRequest::List,
        Team::Disable { team } => TeamRequest::Disable { team },
        Team::Join { team, email } => TeamRequest::MemberAdd { team, email },
        Team::Leave { team, email } => TeamRequest::MemberRemove { team, email },
    }
}

fn member_and_role(text: &str) -> Result<(String, String), String> {
    text.rsplit_once(':')
        .map(|(email, role)| (email.to_owned(), role.to_owned()))
        .ok_or_else(|| format!("{text:?} is not EMAIL:ROLE, such as ann@example.com:agent"))
}

impl PasswordFrom {
    /// The password from standard input or the terminal; `None` has one made.
    fn read(&self) -> Result<Option<String>, String> {
        let stdin = std::io::stdin();
        if !self.password_stdin && !stdin.is_terminal() {
            return Ok(None);
        }
        if !self.password_stdin {
            eprint!("Password (shown as you type; empty: one is made): ");
            std::io::stderr().flush().map_err(|error| error.to_string())?;
        }
        let mut line = String::new();
        stdin.lock().read_line(&mut line).map_err(|error| format!("the password can't be read: {error}"))?;
        let password = line.trim_end_matches(['\r', '\n']).to_owned();
        match (password.is_empty(), self.password_stdin) {
            (false, _) => Ok(Some(password)),
            (true, false) => Ok(None),
            (true, true) => Err("there is no password on standard input".to_owned()),
        }
    }
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
        AdminReply::Quota(quota) => print_quota(quota),
        AdminReply::Erased(report) => erase::print(report),
        AdminReply::Checked(check) => print_check(check),
        AdminReply::Done | AdminReply::Imported(_) | AdminReply::Exported(_) => println!("done"),
    }
}

fn print_quota(quota: &QuotaReport) {
    for (name, used, limit) in
        [("octets", quota.octets_used, quota.octets), ("messages", quota.messages_used, quota.messages)]
    {
        let shown = |limit: Option<u64>| limit.map_or("-".to_owned(), |limit| limit.to_string());
        let (warn, soft) = (shown(limit.warn), shown(limit.soft));
        println!("{name}: {used} of {} (warn {warn}, soft {soft})", limit.hard);
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
