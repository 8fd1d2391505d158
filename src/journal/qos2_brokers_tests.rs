//! The table against models of brokers that differ in how they number and repeat: every message carries one of two
//! contents, the connection is cut at any packet, the process restarts at any time. Nothing may be lost on any broker;
//! nothing may come twice on one that keeps to MQTT.

use std::collections::VecDeque;

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Numbers {
    LowestFree,
    InOrder,
    /// From 1 with each connection.
    AnewPerConnection,
    /// From anywhere with each connection.
    AnywherePerConnection,
    /// From 1 to so many, and anew.
    Within(u16),
}

#[derive(Debug, Clone, Copy)]
struct Habits {
    numbers: Numbers,
    marks_redelivery: bool,
    /// Sends a PUBLISH again although its PUBREL went out, with DUP, as Mosquitto does.
    repeats_released: bool,
    /// One message of so many is of QoS 1; 0 = none.
    qos_1_once_in: u64,
    window: usize,
}

#[derive(Debug, Clone, Copy)]
enum Packet {
    Publish {
        id: u16,
        qos: u8,
        dup: bool,
        number: usize,
    },
    PubRel(u16),
    /// PUBACK, PUBREC and PUBCOMP, by the first byte.
    Acknowledgement(u8, u16),
}

struct InFlight {
    id: u16,
    qos: u8,
    number: usize,
    is_released: bool,
}

struct World {
    habits: Habits,
    random: u64,
    pointer: u16,
    in_flight: VecDeque<InFlight>,
    to_bridge: VecDeque<Packet>,
    to_broker: VecDeque<Packet>,
    table: Qos2Table,
    /// How often each message was stored, and how often it may have been.
    stored: Vec<(u64, u64)>,
    was_in_order: bool,
}

impl World {
    fn new(habits: Habits, seed: u64) -> World {
        World {
            habits,
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            pointer: 0,
            in_flight: VecDeque::new(),
            to_bridge: VecDeque::new(),
            to_broker: VecDeque::new(),
            table: Qos2Table::default(),
            stored: Vec::new(),
            was_in_order: false,
        }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % limit
    }

    /// Messages of two contents, in runs, so that an id mostly comes back with the content that it had.
    fn content(number: usize) -> u64 {
        (number / 50 % 2) as u64
    }

    fn free_id(&mut self) -> u16 {
        if self.habits.numbers == Numbers::LowestFree {
            self.pointer = 0;
        }
        let max = if let Numbers::Within(max) = self.habits.numbers { max } else { u16::MAX };
        loop {
            self.pointer = if self.pointer >= max { 1 } else { self.pointer + 1 };
            if self.in_flight.iter().all(|message| message.id != self.pointer) {
                return self.pointer;
            }
        }
    }

    fn publish(&mut self) {
        if self.in_flight.len() == self.habits.window {
            return;
        }
        let once_in = self.habits.qos_1_once_in;
        let qos = if once_in > 0 && self.below(once_in) == 0 { 1 } else { 2 };
        let (id, number) = (self.free_id(), self.stored.len());
        self.stored.push((0, if qos == 1 { u64::MAX } else { 1 }));
        self.in_flight.push_back(InFlight { id, qos, number, is_released: false });
        self.to_bridge.push_back(Packet::Publish { id, qos, dup: false, number });
    }

    fn bridge_takes(&mut self) {
        match self.to_bridge.pop_front() {
            Some(Packet::Publish { id, qos: 1, number, .. }) => {
                self.table.pass(1);
                self.stored[number].0 += 1;
                self.to_broker.push_back(Packet::Acknowledgement(0x40, id));
            }
            Some(Packet::Publish { id, dup, number, .. }) => {
                match self.table.verdict(id, dup, Self::content(number)) {
                    Qos2Verdict::New => {
                        self.table.take(id, dup, Self::content(number));
                        self.stored[number].0 += 1;
                    }
                    Qos2Verdict::Duplicate => {}
                    Qos2Verdict::Repeated => self.table.release(id),
                }
                self.was_in_order |= self.table.numbering.is_in_order();
                self.to_broker.push_back(Packet::Acknowledgement(0x50, id));
            }
            Some(Packet::PubRel(id)) => {
                self.table.release(id);
                self.to_broker.push_back(Packet::Acknowledgement(0x70, id));
            }
            Some(Packet::Acknowledgement(..)) => unreachable!("a broker acknowledges nothing here"),
            None => {}
        }
    }

    fn broker_takes(&mut self) {
        let Some(Packet::Acknowledgement(first, id)) = self.to_broker.pop_front() else { return };
        let Some(at) = self.in_flight.iter().position(|message| message.id == id) else { return };
        match first {
            0x50 => {
                self.in_flight[at].is_released = true;
                self.to_bridge.push_back(Packet::PubRel(id));
            }
            0x70 if !self.in_flight[at].is_released => {}
            _ => drop(self.in_flight.remove(at)),
        }
    }

    /// What is under way is lost, and perhaps the process restarts; the broker sends again.
    fn cut(&mut self) {
        self.to_bridge.clear();
        self.to_broker.clear();
        if self.below(2) == 0 {
            let mut bytes = Vec::new();
            self.table.encode(&mut bytes);
            self.table = Qos2Table::decode(&bytes).unwrap();
        }
        match self.habits.numbers {
            Numbers::AnewPerConnection => self.pointer = 0,
            Numbers::AnywherePerConnection => self.pointer = self.below(65_535) as u16,
            _ => {}
        }
        for at in 0..self.in_flight.len() {
            if self.in_flight[at].is_released && self.habits.repeats_released && self.below(3) == 0 {
                self.in_flight[at].is_released = false;
                if !self.table.numbering.is_in_order() {
                    self.stored[self.in_flight[at].number].1 += 1;
                }
            }
            let InFlight { id, qos, number, is_released } = self.in_flight[at];
            let dup = self.habits.marks_redelivery;
            self.to_bridge.push_back(match is_released {
                true => Packet::PubRel(id),
                false => Packet::Publish { id, qos, dup, number },
            });
        }
    }

    fn run(&mut self, steps: usize, cut_once_in: u64) {
        for _ in 0..steps {
            match self.below(10) {
                0..4 => self.publish(),
                4..7 => self.bridge_takes(),
                _ => self.broker_takes(),
            }
            if self.below(cut_once_in) == 0 {
                self.cut();
                // Now and then again, before much of what comes again was read.
                while self.below(3) == 0 {
                    (0..self.below(5)).for_each(|_| self.bridge_takes());
                    self.cut();
                }
            }
        }
        while !self.in_flight.is_empty() {
            self.bridge_takes();
            self.broker_takes();
        }
        for (number, &(stored, most)) in self.stored.iter().enumerate() {
            assert!(stored >= 1, "message {number} is lost: {:?}", self.habits);
            assert!(stored <= most, "message {number} is stored {stored} times: {:?}", self.habits);
        }
    }
}

const NUMBERS: [Numbers; 5] = [
    Numbers::LowestFree,
    Numbers::InOrder,
    Numbers::AnewPerConnection,
    Numbers::AnywherePerConnection,
    Numbers::Within(100),
];

#[test]
fn no_message_is_lost_or_doubled_however_a_broker_numbers_and_marks_redeliveries() {
    for numbers in NUMBERS {
        for marks_redelivery in [true, false] {
            for (seed, window) in [1, 2, 5, 20, 100].into_iter().enumerate() {
                for qos_1_once_in in [0, 2] {
                    let habits = Habits { numbers, marks_redelivery, repeats_released: false, qos_1_once_in, window };
                    World::new(habits, seed as u64).run(20_000, 40 * window as u64);
                }
            }
        }
    }
}

#[test]
fn only_brokers_that_count_over_reconnects_are_taken_for_such() {
    for numbers in NUMBERS {
        for (seed, qos_1_once_in) in [(1, 0), (2, 2), (3, 5), (4, 0)] {
            let habits = Habits { numbers, marks_redelivery: true, repeats_released: false, qos_1_once_in, window: 20 };
            let mut world = World::new(habits, seed);
            world.run(60_000, if seed == 4 { 20_000 } else { 3_000 });
            assert_eq!(world.was_in_order, numbers == Numbers::InOrder, "{habits:?}");
        }
    }
}

#[test]
fn of_a_broker_that_counts_a_publish_after_its_pubrel_is_no_second_message() {
    for (seed, window) in [(1, 2), (2, 20), (3, 100)] {
        for qos_1_once_in in [0, 3] {
            let habits = Habits {
                numbers: Numbers::InOrder,
                marks_redelivery: true,
                repeats_released: true,
                qos_1_once_in,
                window,
            };
            let mut world = World::new(habits, seed);
            world.run(60_000, 400);
            assert!(world.table.numbering.is_in_order(), "{habits:?}");
        }
    }
}

#[test]
fn of_any_other_broker_a_publish_after_its_pubrel_is_stored_twice_rather_than_lost() {
    for numbers in NUMBERS {
        let habits = Habits { numbers, marks_redelivery: true, repeats_released: true, qos_1_once_in: 4, window: 10 };
        World::new(habits, 7).run(30_000, 300);
    }
}

#[test]
fn equal_messages_over_several_rounds_of_all_numbers_are_all_stored() {
    for numbers in [Numbers::InOrder, Numbers::LowestFree] {
        let habits = Habits { numbers, marks_redelivery: true, repeats_released: false, qos_1_once_in: 9, window: 50 };
        World::new(habits, 3).run(500_000, 5_000);
    }
}
