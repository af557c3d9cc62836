//! Teams at the command line: groups of people that conversations can be given to.

use super::admin::{self, AdminError, AdminReply, Office};
use crate::auth::{View, teams};
use crate::types::PrincipalId;
use serde::{Deserialize, Serialize};

/// What is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "camelCase")]
pub enum TeamRequest {
    /// Members by their addresses.
    Add {
        name: String,
        members: Vec<String>,
    },
    List,
    MemberAdd {
        team: String,
        email: String,
    },
    MemberRemove {
        team: String,
        email: String,
    },
    Disable {
        team: String,
    },
}

/// One team.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TeamLine {
    pub id: String,
    pub name: String,
    /// Their addresses.
    pub members: Vec<String>,
    pub disabled: bool,
}

/// Does what is asked, and tells which teams there are then.
pub fn run(office: Office<'_>, request: TeamRequest) -> Result<AdminReply, AdminError> {
    let view = office.directory.current();
    let person = |email: &str| admin::find_person(&view, email);
    match request {
        TeamRequest::Add { name, members } => {
            let members: Vec<PrincipalId> =
                members.iter().map(|email| person(email)).collect::<Result<_, _>>()?;
            admin::change(office, &[], |txn| Ok(teams::add(txn, &name, &members)?))?;
        }
        TeamRequest::List => {}
        TeamRequest::MemberAdd { team, email } => {
            let person = person(&email)?;
            admin::change(office, &[], |txn| Ok(teams::set_member(txn, &team, person, true)?))?;
        }
        TeamRequest::MemberRemove { team, email } => {
            let person = person(&email)?;
            admin::change(office, &[], |txn| Ok(teams::set_member(txn, &team, person, false)?))?;
        }
        TeamRequest::Disable { team } => {
            admin::change(office, &[], |txn| Ok(teams::disable(txn, &team)?))?;
        }
    }
    Ok(AdminReply::Teams { teams: lines(&office.directory.current()) })
}

fn lines(view: &View) -> Vec<TeamLine> {
    let email = |id: &PrincipalId| Some(view.principal(*id)?.email.to_string());
    let line = |(id, row): (PrincipalId, &crate::store::rows::directory::TeamRow)| TeamLine {
        id: id.to_string(),
        name: row.name.clone(),
        members: row.members.iter().filter_map(email).collect(),
        disabled: row.disabled,
    };
    view.teams().map(line).collect()
}
