//! The status page in a real browser, through the states of a real bridge. One test: a browser takes seconds to start.

use serde_json::{Value, json};

use crate::support::bridge::Bridge;
use crate::support::browser::Browser;
use crate::support::mosquitto::{DEEP_QUEUE, Mosquitto};
use crate::support::oracle::sqlite;
use crate::support::postgres::Postgres;
use crate::support::proxy::{Mood, Proxy};
use crate::support::publisher::{Load, Publisher};

const CONFIG: &str = r#"
bridge: gw-page
journal: { max_size: 1MiB, segment_size: 256KiB, keep: 0s }
databases:
  local: { url: 'sqlite:rows.db', park_after: 24h, retry: { min: 20ms, max: 100ms } }
  cloud: { url: 'CLOUD', park_after: 1s, retry: { min: 20ms, max: 100ms } }
rules:
  - { name: readings, topic: 'ok/#', database: local, table: readings, columns: { n: payload.n } }
  - { name: '<script>pwned = 1</script>"&amp;', topic: 'odd/#', database: local, table: readings, columns: { n: payload.n } }
  - { name: cloudy, topic: 'cloud/#', database: cloud, table: cloudy, columns: { n: payload.n } }
publish:
  - { name: out, database: local, table: outgoing, topic: 'out/{table}' }
"#;

const HOSTILE_TOPIC: &str = "odd/<img src=x onerror='pwned = 1'>\"&lt;/<script>pwned = 1</script>";

/// The texts of the page whose contrast to what lies behind them is below 4.5, and how many texts there are at all.
const CONTRAST: &str = r"
const parts = color => { const n = color.match(/[\d.]+/g).map(Number); return { rgb: n.slice(0, 3), alpha: n[3] ?? 1 }; };
const light = rgb => { const [r, g, b] = rgb.map(v => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const over = (top, below) => top.rgb.map((v, i) => v * top.alpha + below[i] * (1 - top.alpha));
const behind = element => { if (!element) return [255, 255, 255];
  const color = parts(getComputedStyle(element).backgroundColor);
  return color.alpha === 1 ? color.rgb : over(color, behind(element.parentElement)); };
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const poor = []; let count = 0;
while (walker.nextNode()) {
  const text = walker.currentNode.nodeValue.trim(), element = walker.currentNode.parentElement;
  if (!text || !element.checkVisibility() || ['SCRIPT', 'STYLE'].includes(element.tagName)) continue;
  const ground = behind(element), style = getComputedStyle(element);
  const [a, b] = [light(over(parts(style.color), ground)), light(ground)];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  count += 1;
  if (ratio < 4.5 || style.opacity !== '1') poor.push(`${ratio.toFixed(2)}: ${text.slice(0, 60)}`);
}
return { poor, count };
";

/// The first line of the banner.
const TITLE: &str = "document.querySelector('#problems .title > span')?.textContent";

/// What the cards say of broker and databases.
const PILLS: &str = "JSON.stringify([...document.querySelectorAll('#peers .pill')].map(pill => pill.textContent))";

/// Bridge, broker and databases, and a browser that shows the page.
struct Stage {
    browser: Browser,
    bridge: Bridge,
    publisher: Publisher,
}

impl Stage {
    #[track_caller]
    fn wait_banner(&self, title: &str) {
        let title = json!(title);
        self.browser.wait(&format!("the banner says {title}"), &format!("return {TITLE} === {title}"));
    }

    /// Of the broker, `local` and `cloud`.
    #[track_caller]
    fn wait_pills(&self, expected: [&str; 3]) {
        let expected = json!(expected).to_string();
        let what = format!("the cards say {expected}");
        self.browser.wait(&what, &format!("return {PILLS} === {}", json!(expected)));
    }

    /// That every text can be read, and that nothing is wider than a telephone.
    #[track_caller]
    fn assert_legible(&self, state: &str) {
        for (width, is_dark) in [(1280, false), (1280, true), (390, false), (390, true)] {
            self.browser.set_screen(width, is_dark);
            let found = self.browser.run(CONTRAST);
            assert!(found["count"].as_u64().unwrap() > 20, "{state}: the page is empty: {found}");
            assert_eq!(found["poor"], json!([]), "{state}: too little contrast at {width}, dark: {is_dark}");
            let widths = self.browser.run("return [document.documentElement.scrollWidth, innerWidth]");
            assert!(widths[0].as_u64() <= widths[1].as_u64(), "{state}: wider than the screen: {widths}");
        }
        self.browser.set_screen(1280, false);
    }
}

#[test]
fn the_page_tells_what_is_wrong_and_what_to_do_and_stays_as_it_is_under_the_reader_s_hand() {
    let Some(browser) = Browser::start() else { return };
    let (postgres, mut broker) = (Postgres::shared(), Mosquitto::with(DEEP_QUEUE));
    let database = postgres.create_database();
    let to_cloud = Proxy::to(postgres.port());
    let url = postgres.url(&database).replace(&postgres.port().to_string(), &to_cloud.port().to_string());
    let mut bridge = Bridge::new(broker.port(), &CONFIG.replace("CLOUD", &url));
    let local = rusqlite::Connection::open(bridge.rows()).unwrap();
    local.execute_batch("CREATE TABLE readings (n INTEGER); CREATE TABLE outgoing (n INTEGER)").unwrap();
    postgres.psql(&database, "CREATE TABLE cloudy (n bigint)");
    bridge.start();
    browser.open(&format!("http://127.0.0.1:{}/", bridge.http_port()));
    let mut stage = Stage { browser, bridge, publisher: Publisher::new(broker.port()) };
    assert_headers(&stage.bridge);

    stage.publisher.send("ok/1", r#"{"n":1}"#);
    stage.wait_banner("All is well");
    stage
        .browser
        .wait("the row is shown", "return document.querySelector('#rules tbody td:nth-child(4)')?.textContent === '1'");
    stage.wait_pills(["connected", "connected", "connected"]);
    stage.assert_legible("all well");

    local.execute_batch("DROP TABLE outgoing").unwrap();
    stage.wait_banner("publish out waits");
    local.execute_batch("CREATE TABLE outgoing (n INTEGER)").unwrap();
    stage.wait_banner("All is well");

    what_comes_from_messages_stays_text(&mut stage);

    broker.stop();
    stage.wait_banner("The broker is not connected");
    stage.wait_pills(["not connected", "connected", "connected"]);
    broker.restart();
    stage
        .browser
        .wait("the broker is back", "return document.querySelector('#peers .pill').textContent === 'connected'");

    stage.publisher = Publisher::new(broker.port());
    to_cloud.set(Mood::Refuse);
    to_cloud.cut();
    stage.publisher.send("cloud/1", r#"{"n":1}"#);
    stage.wait_banner("Database cloud is not connected");
    stage.wait_pills(["connected", "connected", "not connected"]);
    to_cloud.set(Mood::Pass);
    stage.bridge.wait_drained("cloud");

    postgres.psql(&database, "DROP TABLE cloudy");
    stage.publisher.send("cloud/2", r#"{"n":2}"#);
    stage.bridge.wait_alive("cloud is held", |bridge| {
        bridge.status()["databases"]["cloud"]["held"]["mend"].as_str().map(str::to_owned)
    });
    stage.wait_banner("Table cloudy in cloud takes nothing: rule cloudy is parked");
    stage.wait_pills(["connected", "connected", "connected, rules parked"]);
    let sql = stage.browser.run("return document.querySelector('#problems pre').textContent");
    postgres.psql(&database, sql.as_str().unwrap());
    stage.bridge.wait_alive("what the page shows mends it", |_| {
        (postgres.psql(&database, "SELECT count(*) FROM cloudy").trim() == "1").then_some(())
    });

    sqlite(&stage.bridge.rows()).execute_batch("ALTER TABLE readings RENAME TO away").unwrap();
    stage.publisher.send("ok/2", r#"{"n":2}"#);
    stage.wait_banner("Database local is held: a person is needed");
    stage.wait_pills(["connected", "held", "connected"]);
    a_selection_outlives_updates_and_the_sql_can_be_copied(&stage);

    // Twice what the journal holds, while local is held.
    let bulky = |_| ("ok/3".to_owned(), format!(r#"{{"n":3,"ballast":"{}"}}"#, "x".repeat(4096)).into_bytes());
    Load::new(broker.port(), 1, 512).made_by(bulky).run();
    stage.wait_banner("The journal is full: no messages are taken");
    stage.assert_legible("everything at once");

    assert_eq!(stage.browser.console(), Vec::<Value>::new(), "the console is quiet");
    stage.bridge.kill();
    stage.wait_banner("The bridge does not answer");
    stage.wait_pills(["unknown", "unknown", "unknown"]);
    stage.assert_legible("the bridge is gone");
    stage.bridge.spawn();
    stage.browser.wait("it goes on", &format!("return {TITLE} !== 'The bridge does not answer'"));
}

fn assert_headers(bridge: &Bridge) {
    let page = bridge.get("/").unwrap();
    assert!(
        page.headers.contains("content-security-policy: default-src 'none'; script-src 'nonce-"),
        "{}",
        page.headers
    );
    assert!(page.headers.contains("x-content-type-options: nosniff"), "{}", page.headers);
    assert!(page.headers.contains("cache-control: no-store"), "{}", page.headers);
    assert!(
        !page.body.contains("://")
            || page.body.matches("://").count() == page.body.matches("http://www.w3.org/2000/svg").count(),
        "the page names another site"
    );
}

fn what_comes_from_messages_stays_text(stage: &mut Stage) {
    stage.publisher.send(HOSTILE_TOPIC, "<script>pwned = 1</script>");
    let topic = json!(HOSTILE_TOPIC);
    let shown = format!("return document.querySelector('#refusals .meta')?.textContent.includes({topic})");
    stage.browser.wait("the topic is shown as it is", &shown);
    stage.wait_banner("Some messages give no row");
    let rule = "return document.querySelectorAll('#rules .name')[1].textContent";
    assert_eq!(stage.browser.run(rule), r#"<script>pwned = 1</script>"&amp;"#);
    let made = "return [document.scripts.length, document.images.length, typeof pwned]";
    assert_eq!(stage.browser.run(made), json!([1, 0, "undefined"]));
}

fn a_selection_outlives_updates_and_the_sql_can_be_copied(stage: &Stage) {
    let browser = &stage.browser;
    let select = "const pre = document.querySelector('#problems pre'); getSelection().selectAllChildren(pre);
                  window.before = getSelection().toString(); window.seen = new Set(); return before";
    let sql = browser.run(select);
    assert!(sql.as_str().unwrap().contains("CREATE TABLE"), "{sql}");
    // The line at the top changes with every update.
    browser.wait("three updates", "seen.add(document.getElementById('about').textContent); return seen.size > 3");
    assert_eq!(browser.run("return getSelection().toString()"), sql);
    browser.devtools(
        "Browser.grantPermissions",
        &json!({ "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"] }),
    );
    browser.run("document.querySelector('#problems .copy button').click()");
    browser.wait("it is copied", "return navigator.clipboard.readText().then(text => text === before)");
}
