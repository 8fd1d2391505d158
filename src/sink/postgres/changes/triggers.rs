//! The triggers of a publication: the wanted ones on its table, none on other tables.

use super::capture;
use super::catalogue::{self, LiveTable};
use super::settle::{LOCK_MILLIS, MISSING_RIGHT, Settling, Stored};
use crate::config::Events;
use crate::rule::quote;
use crate::sink::changes::trigger_name;
use crate::sink::postgres::sqlstate::LOCK_NOT_AVAILABLE;
use crate::sink::postgres::transaction::{CATALOGUE_FIRST, around};
use crate::sink::{Class, SinkError};

/// What the server names if the role lacks a right on what is ours.
const OURS: [&str; 3] = ["function rowbridge_capture", "table rowbridge_publications", "table rowbridge_changes"];

impl Settling<'_> {
    /// Takes the publication's triggers from every table that is not its own any more: it was renamed, or the entry names another.
    pub(super) async fn leave_others(&self, stored: &Stored, live: Option<&LiveTable>) -> Result<(), SinkError> {
        let (client, own) = (self.client(), live.map_or(0, |live| live.oid));
        let names = Events::NAMES.map(|event| trigger_name(&self.sql.schema, stored.id, event));
        let looking = around(client, &self.sql.begin_read, catalogue::triggers(client, &names, own));
        for (trigger, table) in self.wait(looking).await? {
            let drop = capture::drop_trigger(&trigger, &table);
            let statements = format!("SET LOCAL lock_timeout = {LOCK_MILLIS}; {CATALOGUE_FIRST}; {drop}");
            let dropping = around(client, &self.sql.begin, client.batch_execute(&statements));
            let doing = format!("taking the triggers of {} from table {table}", self.capture.name);
            self.session.wait(4, &doing, dropping).await.map_err(|error| match error.code.as_str() {
                MISSING_RIGHT => SinkError {
                    class: Class::Table,
                    message: format!("{}\n{drop}", error.message),
                    advice: "run that SQL as the owner of the table",
                    ..error
                },
                _ => self.with_remedy(error),
            })?;
        }
        Ok(())
    }

    /// Whether this trigger is on the table, calls for this publication, and is switched on.
    fn has_trigger(&self, stored: &Stored, live: &LiveTable, name: &str) -> bool {
        live.triggers.contains(&format!("{name} {}", stored.id))
    }

    /// SQL that makes the triggers that are wanted, and takes away the others.
    pub(super) fn make_triggers(&self, stored: &Stored, live: &LiveTable) -> String {
        let mut statements = String::new();
        for event in Events::NAMES {
            let name = trigger_name(&self.sql.schema, stored.id, event);
            let is_wanted = self.capture.events.wanted().any(|wanted| wanted == event);
            let is_there = self.has_trigger(stored, live, &name);
            if is_there && !is_wanted {
                statements += &capture::drop_trigger(&name, &self.table.quoted());
            }
            if is_wanted && !is_there {
                // One that is switched off, or of a publication that was removed, is in the way. Only an owner may drop one.
                statements += &format!(
                    "DO $do$ BEGIN IF EXISTS (SELECT 1 FROM pg_catalog.pg_trigger WHERE tgrelid = {} AND tgname = '{name}') \
                     THEN DROP TRIGGER {} ON {}; END IF; END $do$;",
                    live.oid,
                    quote(&name),
                    self.table.quoted()
                );
                statements += &capture::create_trigger(&self.sql.schema, self.table, stored.id, event);
            }
        }
        statements
    }

    /// What a role without the right has to be given.
    pub(super) fn with_remedy(&self, error: SinkError) -> SinkError {
        let role = quote(&self.sql.role);
        match error.code.as_str() {
            MISSING_RIGHT if error.message.contains("row-level security") => SinkError {
                class: Class::Table,
                message: format!("{}\nALTER ROLE {role} BYPASSRLS;", error.message),
                advice: "policies of the table hide rows from the role; start: existing publishes all of them or none",
                ..error
            },
            // Of our own function or tables, which an administrator made.
            MISSING_RIGHT if OURS.iter().any(|ours| error.message.contains(ours)) => SinkError {
                class: Class::Table,
                message: format!("{}\n{}", error.message, capture::given_to(&self.sql.schema, &self.sql.role)),
                advice: "run that SQL as an administrator, once",
                ..error
            },
            MISSING_RIGHT => SinkError {
                class: Class::Table,
                message: format!(
                    "{}\nGRANT SELECT, TRIGGER ON {} TO {role}; -- to remove triggers again, the role must own the table",
                    error.message,
                    self.table.quoted()
                ),
                advice: "give the role the right to make triggers on the table",
                ..error
            },
            LOCK_NOT_AVAILABLE => SinkError {
                class: Class::Table,
                advice: "somebody holds the table in an open transaction; it is tried again",
                ..error
            },
            _ => error,
        }
    }
}
