//! Which rules of other databases take a message, for those who wait for what these databases say of it. Nothing is mapped.

use std::collections::HashMap;
use std::sync::Arc;

use super::copies::Subscriptions;
use crate::config::Rule;
use crate::mapping::choice::{Choice, Chosen};
use crate::mapping::plan::Memory;
use crate::mapping::route::Router;
use crate::mapping::sharing::Parts;
use crate::message::Message;

/// Rules, of any databases, without their tables.
pub struct Takers {
    router: Router,
    subscriptions: Subscriptions,
    /// By rule; of those whose messages name their database.
    choices: Vec<Option<Choice>>,
    memory: Memory,
}

impl Takers {
    /// `bridge`, `subscriptions` and `retired` as [`Mapper`](super::Mapper) has them. A rule whose database's template cannot
    /// be compiled, which holds its databases, takes nothing.
    pub fn new(
        bridge: &str,
        rules: &[Arc<Rule>],
        subscriptions: &HashMap<String, u32>,
        retired: &[(u32, u32)],
    ) -> Takers {
        let mut parts = Parts::default();
        let mut choice = |rule: &Arc<Rule>| Choice::compile(bridge, rule, rule.chooser.as_ref()?, &mut parts).ok();
        let choices = rules.iter().map(&mut choice).collect();
        let mut subscriptions = Subscriptions::new(rules, subscriptions);
        subscriptions.retire(retired);
        Takers { router: Router::of_rules(rules), subscriptions, choices, memory: Memory::default() }
    }

    /// The indexes of the rules that write the message or have its dead letter, in their order.
    pub fn of(&mut self, message: &Message<'_>) -> Vec<usize> {
        let Takers { router, subscriptions, choices, memory } = self;
        subscriptions.read(message.properties);
        let mut takers = Vec::new();
        for matched in router.route(message.topic) {
            let takes = match &mut choices[matched.rule] {
                None => true,
                Some(choice) if message.fault.is_some() => choice.is_first(),
                Some(choice) => !matches!(choice.choose(message, matched, memory), Chosen::Others),
            };
            if takes && subscriptions.take(matched) {
                takers.push(matched.rule);
            }
        }
        takers
    }
}
