//! From the journal into one database: read, map, batch, write, count. One thread per database; none waits for another.

mod account;
mod answers;
mod backlog;
mod backoff;
mod changed;
mod columns;
mod commit;
mod company;
mod dead_letter;
mod events;
mod first_contact;
mod gather;
mod parking;
mod place;
mod position;
mod prepare;
mod refusals;
mod replay;
mod retained;
mod retried;
mod retry;
mod rules;
mod schemas;
mod state;
mod stop;
mod swallowed;
mod window;
mod worker;

pub use account::{Tally, totals};
pub use answers::{AnswerSender, Answered, answer_channel};
pub use refusals::Unwritten;
pub use retried::{Retried, RetryFailure};
pub use retry::Retry;
pub use rules::{RuleFeed, RuleSet, RuleSets};
pub use state::{DatabaseState, Held, Parked, SharedState};
pub use worker::{Setup, Worker};
