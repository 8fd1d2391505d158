//! The journal as a whole, on a simulated disk.

mod damage;
mod evidence;
mod flips;
mod full;
mod hostile;
mod inspecting;
mod losses;
mod numbers;
mod reopening;
mod running;
mod simulation;
mod torn;
mod unreadable;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::proof::*;
use super::writer::Step;
use super::*;
use crate::config::{self, Corruption, Durability, WhenFull};
use crate::message::Seq;
use crate::telemetry::Metrics;
