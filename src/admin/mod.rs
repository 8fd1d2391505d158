//! HTTP for people and their tools: `/metrics`, `/healthz`, `/readyz`, `/status`, `/history` and a status page.

mod access;
mod history;
mod observer;
mod outbound;
mod page;
mod paths;
mod rates;
mod readiness;
mod server;
mod status;
mod tap;

pub use access::Access;
pub use observer::{Observer, observe};
pub use paths::Paths;
pub use rates::log_rates;
pub use readiness::Readiness;
pub use server::{BindError, bind, serve};
pub use status::{DatabaseHandle, Overview, Status};
