//! A jq program and what it is run on.
//!
//! Input: the program's text; after a NUL, if there is one, the JSON text that it is run on. What is no JSON is given as a
//! string. A program is refused or runs within its bounds, the same way each time, and what it gives is JSON.

use rowbridge::jq::{Input, Outputs, Program, Variable};
use serde_json::value::RawValue;

pub fn check(bytes: &[u8]) {
    let (program, input) = match bytes.iter().position(|byte| *byte == 0) {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &b"null"[..]),
    };
    let (Ok(program), Ok(input)) = (std::str::from_utf8(program), std::str::from_utf8(input)) else { return };
    let program = match Program::parse(program) {
        Ok(program) => program,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let input = match serde_json::from_str::<&RawValue>(input) {
        Ok(value) => Input::Json(value.get()),
        Err(_) => Input::Text(input),
    };
    let variables = |variable: Variable, text: &mut String| match variable {
        Variable::Topic => text.push_str("\"a/b\""),
        Variable::Qos => text.push('1'),
        _ => text.push_str("null"),
    };
    let run = || {
        rowbridge::jq::begin_message();
        let mut outputs = Outputs::default();
        let result = program.run(input, &variables, &mut outputs);
        (result, outputs.iter().map(str::to_owned).collect::<Vec<_>>())
    };
    let (first, outputs) = run();
    match &first {
        Ok(()) => outputs.iter().for_each(|output| {
            assert!(serde_json::from_str::<&RawValue>(output).is_ok(), "an output is no JSON: {output}");
        }),
        Err(fault) => {
            assert!(!fault.message.is_empty() && ["size", "value"].contains(&fault.reason), "{fault:?}");
            assert!(outputs.is_empty(), "a fault leaves outputs");
            // Time is another each time.
            return;
        }
    }
    let (second, again) = run();
    assert!(second.is_err() || outputs == again, "{outputs:?} and then {again:?}");
    // As a predicate, perhaps without the interpreter.
    if let Ok(is_true) = program.is_true(input, &variables) {
        let holds = |output: &String| !["false", "null"].contains(&output.as_str());
        assert_eq!(is_true, outputs.iter().any(holds), "{outputs:?}");
    }
}
