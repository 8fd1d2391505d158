//! Topics of common device families, as those projects document them.

use super::form::Form;

/// How one kind of topic of a family is stored.
pub(super) struct Recipe {
    pub(super) family: &'static str,
    /// As a rule has it. The first recipe that fits a topic takes it.
    pub(super) pattern: &'static str,
    /// How the first captured level begins; empty for any.
    pub(super) begins: &'static str,
    /// Which payloads it is for.
    pub(super) is_for: fn(&Form) -> bool,
    pub(super) table: &'static str,
    /// Only for devices that another recipe of the family has found.
    pub(super) of_known: bool,
    /// The payload is kept as one document: its fields are settings, not readings.
    pub(super) whole: bool,
}

const fn recipe(
    family: &'static str,
    pattern: &'static str,
    begins: &'static str,
    is_for: fn(&Form) -> bool,
    table: &'static str,
) -> Recipe {
    Recipe { family, pattern, begins, is_for, table, of_known: false, whole: false }
}

const fn whole(family: &'static str, pattern: &'static str, table: &'static str) -> Recipe {
    Recipe { family, pattern, begins: "", is_for: any, table, of_known: false, whole: true }
}

const fn known(family: &'static str, pattern: &'static str, is_for: fn(&Form) -> bool, table: &'static str) -> Recipe {
    Recipe { family, pattern, begins: "", is_for, table, of_known: true, whole: false }
}

fn any(_: &Form) -> bool {
    true
}

fn object(form: &Form) -> bool {
    *form == Form::Object
}

fn scalar(form: &Form) -> bool {
    matches!(form, Form::Number | Form::Text | Form::Nothing)
}

const ZIGBEE: &str = "Zigbee2MQTT";
const TASMOTA: &str = "Tasmota";
const SHELLY: &str = "Shelly (first generation)";
const SHELLY_2: &str = "Shelly (second generation and later)";
const ESPHOME: &str = "ESPHome";
const OWNTRACKS: &str = "OwnTracks";
const HOME_ASSISTANT: &str = "Home Assistant discovery";

pub(super) const RECIPES: [Recipe; 40] = [
    whole(ZIGBEE, "zigbee2mqtt/bridge/{*part}", "zigbee2mqtt_bridge"),
    recipe(ZIGBEE, "zigbee2mqtt/{device}/availability", "", any, "zigbee2mqtt_availability"),
    recipe(ZIGBEE, "zigbee2mqtt/{device}", "", object, "zigbee2mqtt"),
    recipe(TASMOTA, "tele/{device}/STATE", "", object, "tasmota_state"),
    recipe(TASMOTA, "tele/{device}/SENSOR", "", object, "tasmota_sensor"),
    recipe(TASMOTA, "tele/{device}/LWT", "", scalar, "tasmota_online"),
    whole(TASMOTA, "tele/{device}/INFO1", "tasmota_info"),
    whole(TASMOTA, "tele/{device}/INFO2", "tasmota_info2"),
    whole(TASMOTA, "tele/{device}/INFO3", "tasmota_info3"),
    recipe(TASMOTA, "tele/{device}/UPTIME", "", object, "tasmota_uptime"),
    whole(TASMOTA, "stat/{device}/RESULT", "tasmota_result"),
    whole(TASMOTA, "tasmota/discovery/{device}/config", "tasmota_config"),
    whole(TASMOTA, "tasmota/discovery/{device}/sensors", "tasmota_config_sensors"),
    recipe(SHELLY, "shellies/{device}/online", "", scalar, "shelly_online"),
    whole(SHELLY, "shellies/{device}/announce", "shelly_announce"),
    whole(SHELLY, "shellies/{device}/info", "shelly_info"),
    recipe(SHELLY, "shellies/{device}/relay/{channel}", "", scalar, "shelly_relay"),
    recipe(SHELLY, "shellies/{device}/relay/{channel}/{measurement}", "", scalar, "shelly_relay_meter"),
    recipe(SHELLY, "shellies/{device}/emeter/{channel}/{measurement}", "", scalar, "shelly_emeter"),
    recipe(SHELLY, "shellies/{device}/sensor/{measurement}", "", scalar, "shelly_sensor"),
    recipe(SHELLY, "shellies/{device}/input/{channel}", "", scalar, "shelly_input"),
    recipe(SHELLY, "shellies/{device}/light/{channel}", "", scalar, "shelly_light"),
    whole(SHELLY, "shellies/{device}/light/{channel}/status", "shelly_light_status"),
    recipe(SHELLY, "shellies/{device}/roller/{channel}", "", scalar, "shelly_roller"),
    recipe(SHELLY, "shellies/{device}/{measurement}", "", scalar, "shelly_device"),
    recipe(SHELLY_2, "{device}/online", "shelly", scalar, "shelly2_online"),
    whole(SHELLY_2, "{device}/events/rpc", "shelly2_events"),
    recipe(SHELLY_2, "{device}/status/{component}", "shelly", object, "shelly2_status"),
    recipe(ESPHOME, "{device}/sensor/{name}/state", "", scalar, "esphome_sensor"),
    recipe(ESPHOME, "{device}/binary_sensor/{name}/state", "", scalar, "esphome_binary_sensor"),
    recipe(ESPHOME, "{device}/text_sensor/{name}/state", "", scalar, "esphome_text_sensor"),
    recipe(ESPHOME, "{device}/switch/{name}/state", "", scalar, "esphome_switch"),
    recipe(ESPHOME, "{device}/number/{name}/state", "", scalar, "esphome_number"),
    recipe(ESPHOME, "{device}/light/{name}/state", "", object, "esphome_light"),
    known(ESPHOME, "{device}/status", scalar, "esphome_status"),
    known(ESPHOME, "{device}/debug", any, "esphome_debug"),
    recipe(OWNTRACKS, "owntracks/{user}/{device}", "", object, "owntracks"),
    recipe(OWNTRACKS, "owntracks/{user}/{device}/event", "", object, "owntracks_event"),
    whole(HOME_ASSISTANT, "homeassistant/{component}/{object}/config", "homeassistant_config"),
    whole(HOME_ASSISTANT, "homeassistant/{component}/{node}/{object}/config", "homeassistant_node_config"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::TopicPattern;

    #[test]
    fn every_recipe_is_a_pattern_with_a_table_of_its_own() {
        let mut tables = std::collections::BTreeSet::new();
        for recipe in &RECIPES {
            assert!(TopicPattern::parse(recipe.pattern).is_ok(), "{}", recipe.pattern);
            assert!(tables.insert(recipe.table), "{}", recipe.table);
        }
    }
}
