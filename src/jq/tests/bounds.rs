//! Programs that loop, explode or recurse. Each ends with a bound's message, and leaves nothing behind.

use std::time::Duration;

use super::super::budget::budget;
use super::*;

/// Less than the real one, for there are many of them.
const TIME_MAX: Duration = Duration::from_millis(100);

const TIME: &str = "runs longer than";
const MEMORY: &str = "needs more than 64 MiB";
const RECURSION: &str = "calls itself too deeply";
const NESTING: &str = "nested more than";
const ANY: &str = "";

/// Runs on a thread of its own, so that a run that does not end fails the test rather than hanging it.
#[track_caller]
fn result(time_max: Duration, text: &str, input: &str) -> Result<usize, JqFault> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let (program, input) = (program(text), input.to_owned());
    let run = move || {
        has_stack();
        budget(|budget| budget.set_time_max(time_max));
        let mut outputs = Outputs::default();
        let result = program.run(Input::Json(&input), &no_variables, &mut outputs);
        sender.send((result.map(|()| outputs.len()), budget(|budget| budget.is_clear()))).unwrap();
    };
    std::thread::Builder::new().stack_size(STACK_BYTES).spawn(run).unwrap();
    // Far more than the bound: other tests want the processor too.
    let ended = receiver.recv_timeout(Duration::from_secs(60));
    let (result, is_clear) = ended.unwrap_or_else(|_| panic!("{text} does not end"));
    assert!(is_clear, "{text}: something is still counted");
    result
}

#[track_caller]
fn ends(text: &str, input: &str, message: &str) {
    ends_within(TIME_MAX, text, input, message);
}

#[track_caller]
fn ends_within(time_max: Duration, text: &str, input: &str, message: &str) {
    let fault = result(time_max, text, input).map(|_| panic!("{text} gives outputs")).unwrap_err();
    assert!(fault.message.contains(message), "{text}: {}", fault.message);
}

#[test]
fn endless_loops_end() {
    for text in [
        "def f: f; f",
        "def f: def g: f; g; f",
        "def f($x): f($x + 1); f(0)",
        "until(false; .)",
        "[recurse(.)] | length",
        "last(repeat(1))",
        "last(range(1e18))",
        "reduce range(1e18) as $x (0; .)",
        "reduce repeat(1) as $x (0; . + 1)",
        "first(range(1e18) | select(. < 0))",
        "[limit(5; repeat(empty))]",
        "while(true; .) | empty",
        "last(range(0; 1; 0))",
        "try (def f: try f catch f; f) catch .",
        "def f: try error(\"x\") catch f; f",
        "first(skip(1e18; repeat(1)))",
        "path(def f: f; f)",
        "(def f: f; f) |= 1",
        "label $x | def f: f; f",
        "isempty(repeat(empty))",
        "any(repeat(false); .)",
        "[range(1000)] | [combinations(4)] | length",
    ] {
        ends(text, "null", ANY);
    }
}

#[test]
fn products_without_any_loop_end() {
    let input = format!("[{}1]", "1,".repeat(999));
    ends(".[] as $a | .[] as $b | .[] as $c | .[] as $d | empty", &input, TIME);
    ends("[.[] + .[] + .[] + .[]] | length", &input, ANY);
    ends("last({a: .[], b: .[], c: .[]})", &input, TIME);
    ends("def f($a; $b; $c; $d): empty; f(.[]; .[]; .[]; .[])", &input, TIME);
    ends("last(.[.[]:.[]][.[]:.[]])", &input, ANY);
}

#[test]
fn memory_is_bounded() {
    for text in [
        "[range(1e18)]",
        "\"x\" * 1e12",
        "\"x\" * 1000000000000",
        "[limit(1e12; repeat(1))]",
        "[limit(1e12; repeat(\"abc\" * 1000))]",
        "reduce range(100) as $i (\"x\"; . + .)",
        "reduce range(100) as $i ([1]; . + .)",
        "reduce range(100) as $i ([]; [., .])",
        "reduce range(60) as $i ([]; [., .]) | tojson",
        "reduce range(60) as $i ({}; {a: ., b: .}) | [..]",
        "reduce range(1e9) as $x (0; 1, 2)",
        "reduce range(1e9) as $x (0; limit(5; 1))",
        "foreach range(1e9) as $x (0; ., .) | empty",
        "def f($x): \"y\" * 10000000 | f(.) + $x; f(1)",
        "[repeat([])]",
        "[repeat({})]",
        "def rec: ., rec, 1; [rec]",
        "{} | reduce range(1e9) as $i (.; .[$i | tostring] = 1)",
        "[range(1e5)] | tojson | [., ., .] | tojson | [., ., .] | tojson | [., ., .] | tojson | [., ., ., ., ., .]| tojson",
    ] {
        ends(text, "null", ANY);
    }
    ends("\"x\" * 1000000000000", "null", MEMORY);
}

#[test]
fn recursion_is_bounded() {
    for text in [
        "def f: 1 + f; f",
        "def f: [f]; f",
        "def f: f | .; f",
        "def f: f, 1; [f]",
        "def f: {a: f}; f",
        "def f(g): f(1 | g); f(.)",
        "def f(g): f(g | g); f(.)",
        "def f(g): g | f(f(g)); f(.)",
        "path(def f: .[0] | f; f)",
        "path(def f: .[1:] | f; f)",
        "def f: label $x | f; f",
        "def f: try f catch 1; f | 1",
        "def f: reduce 1 as $x (0; f); f",
        "(def f: .[0] | f; f) |= 1",
        "(reduce range(100000) as $i (.; .)) |= 1",
        "def f: if . then 1 else f + 1 end; f",
        "def f: -f; f",
        "def f: .[f]; f",
        "[..|def f: ..|f; f]",
        "def ack($m; $n): if $m == 0 then $n + 1 elif $n == 0 then ack($m - 1; 1) else ack($m - 1; ack($m; $n - 1)) end; ack(4; 2)",
    ] {
        ends(text, "null", ANY);
    }
    ends("def f: 1 + f; f", "null", RECURSION);
}

#[test]
fn nesting_is_bounded() {
    for text in [
        "reduce range(1e6) as $i (null; [.])",
        "reduce range(1e6) as $i (null; {a: .})",
        "def f: [.] | f; f",
        "reduce range(1000) as $i (1; .[0] |= 1 | [.])",
        "setpath([range(1000) | \"a\"]; 1)",
        "[range(1000) | \"a\"] as $p | null | getpath($p) |= 1",
    ] {
        ends(text, "null", ANY);
    }
    ends("reduce range(1e6) as $i (null; [.])", "null", NESTING);
    ends(".", &format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)), NESTING);
}

#[test]
fn outputs_are_bounded() {
    // Long enough for a slow machine without optimisation.
    let time_max = Duration::from_secs(30);
    ends_within(time_max, "range(100001)", "null", "more than 100000 outputs");
    ends_within(time_max, "range(20) | \"x\" * 1000000", "null", "more than 16 MiB");
    assert_eq!(result(time_max, "range(100000)", "null"), Ok(100_000));
}

#[test]
fn regular_expressions_are_bounded() {
    let text = format!("\"{}\"", "a".repeat(1 << 20));
    for pattern in ["(a*)*b", "(a|a)*$", "a*b|a", "a"] {
        // It may end in time.
        let _ = result(TIME_MAX, &format!("[match(\"{pattern}\"; \"g\")] | length"), &text);
    }
    ends("test(\"(((a{50}){50}){50}){50}\")", &text, "invalid, or too large");
    ends("test(\"a\")", &format!("\"{}\"", "a".repeat((1 << 20) + 1)), "at most 1 MiB");
}
