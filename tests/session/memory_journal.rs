//! A journal in memory, whose disk the test commands: hold what was submitted, make it durable, lose it, be full.

use std::sync::{Arc, Mutex, MutexGuard};

use rowbridge::journal::Qos2Table;
use rowbridge::message::{Fault, Message, Property, Qos};
use rowbridge::source;
use tokio::sync::Notify;

/// The disk, which outlives the processes that write to it.
#[derive(Clone, Default)]
pub(crate) struct Disk(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    durable: Vec<Record>,
    /// Submitted and not durable, with their ordinals.
    waiting: Vec<(u64, Record)>,
    durable_ordinal: u64,
    generation: u64,
    is_holding: bool,
    /// How often the session looks before what waits is durable.
    looks_left: Option<u32>,
    is_full: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    Message(Stored),
    Release(u16),
    Clear,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) fault: Option<Fault>,
    pub(crate) subscription_ids: Vec<u32>,
    qos: Qos,
    dup: bool,
    qos2: Option<(u16, u64)>,
}

/// One process's side.
pub(crate) struct MemoryJournal {
    disk: Disk,
    ordinal: u64,
    staged: Vec<(u64, Record)>,
    generation: Mutex<u64>,
}

impl Disk {
    /// Begins a process: what was not durable is lost, ordinals count from 1.
    pub(crate) fn journal(&self) -> MemoryJournal {
        let mut state = self.state();
        state.waiting.clear();
        state.durable_ordinal = 0;
        MemoryJournal { disk: self.clone(), ordinal: 0, staged: Vec::new(), generation: Mutex::new(state.generation) }
    }

    /// From now on nothing becomes durable.
    pub(crate) fn hold(&self) {
        self.state().is_holding = true;
    }

    /// Makes durable what is waiting and all that comes.
    pub(crate) fn let_go(&self) {
        let mut state = self.state();
        state.is_holding = false;
        state.sync();
        drop(state);
        self.0.changed.notify_one();
    }

    /// As [`Disk::let_go`], right behind so many of the session's looks at what is durable.
    pub(crate) fn let_go_after_looks(&self, looks: u32) {
        self.state().looks_left = Some(looks);
    }

    /// An fsync failed: what is waiting is gone, the journal was reopened.
    pub(crate) fn lose(&self) {
        let mut state = self.state();
        state.waiting.clear();
        state.generation += 1;
        drop(state);
        self.0.changed.notify_one();
    }

    pub(crate) fn set_full(&self, is_full: bool) {
        self.state().is_full = is_full;
        self.0.changed.notify_one();
    }

    pub(crate) fn records(&self) -> Vec<Record> {
        self.state().durable.clone()
    }

    /// The durable messages.
    pub(crate) fn messages(&self) -> Vec<Stored> {
        let of = |record| match record {
            Record::Message(message) => Some(message),
            _ => None,
        };
        self.records().into_iter().filter_map(of).collect()
    }

    /// Payloads of the durable messages, as text.
    pub(crate) fn payloads(&self) -> Vec<String> {
        self.messages().into_iter().map(|message| String::from_utf8_lossy(&message.payload).into_owned()).collect()
    }

    /// How many records were submitted and are not durable.
    pub(crate) fn waiting(&self) -> usize {
        self.state().waiting.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }
}

impl State {
    fn sync(&mut self) {
        for (ordinal, record) in self.waiting.drain(..) {
            self.durable_ordinal = ordinal;
            self.durable.push(record);
        }
    }
}

impl MemoryJournal {
    fn push(&mut self, record: Record) -> u64 {
        self.ordinal += 1;
        self.staged.push((self.ordinal, record));
        self.ordinal
    }
}

impl source::Journal for MemoryJournal {
    fn qos2(&self) -> Qos2Table {
        let state = self.disk.state();
        *self.generation.lock().unwrap() = state.generation;
        let mut table = Qos2Table::default();
        for record in &state.durable {
            match record {
                Record::Message(Stored { qos2: Some((packet_id, hash)), dup, .. }) => {
                    table.take(*packet_id, *dup, *hash);
                }
                Record::Message(message) => table.pass(u64::from(message.qos == Qos::AtLeastOnce)),
                Record::Release(packet_id) => table.release(*packet_id),
                Record::Clear => table.clear(),
            }
        }
        table
    }

    fn generation(&self) -> u64 {
        self.disk.state().generation
    }

    fn push_message(&mut self, message: &Message<'_>, qos2: Option<(u16, u64)>) -> u64 {
        let subscription_ids = message.properties.iter().filter_map(|property| match property {
            Property::SubscriptionId(id) => Some(id),
            _ => None,
        });
        self.push(Record::Message(Stored {
            topic: message.topic.to_owned(),
            payload: message.payload.to_vec(),
            fault: message.fault,
            subscription_ids: subscription_ids.collect(),
            qos: message.qos,
            dup: message.dup,
            qos2,
        }))
    }

    fn push_release(&mut self, packet_id: u16) -> u64 {
        self.push(Record::Release(packet_id))
    }

    fn push_clear(&mut self) -> u64 {
        self.push(Record::Clear)
    }

    fn submit(&mut self) {
        let mut state = self.disk.state();
        // As the real one: nothing is taken for a generation that is over.
        if *self.generation.lock().unwrap() == state.generation {
            state.waiting.append(&mut self.staged);
        }
        self.staged.clear();
        if !state.is_holding {
            state.sync();
        }
        drop(state);
        self.disk.0.changed.notify_one();
    }

    fn discard(&mut self) {
        if let Some((ordinal, _)) = self.staged.first() {
            self.ordinal = ordinal - 1;
        }
        self.staged.clear();
    }

    fn is_backlogged(&self) -> bool {
        self.disk.state().is_full
    }

    fn durable(&self) -> u64 {
        let mut state = self.disk.state();
        let seen = state.durable_ordinal;
        state.looks_left = state.looks_left.map(|looks| looks - 1);
        if state.looks_left == Some(0) {
            state.looks_left = None;
            drop(state);
            self.disk.let_go();
        }
        seen
    }

    async fn changed(&self) {
        self.disk.0.changed.notified().await;
    }
}
