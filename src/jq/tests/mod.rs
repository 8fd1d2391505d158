mod bounds;
mod check;
mod compile;
mod random;
mod semantics;

use super::*;

fn no_variables(_: Variable, text: &mut String) {
    text.push_str("null");
}

fn program(text: &str) -> Program {
    Program::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The outputs of a program as JSON texts, or the fault's message.
fn outputs(text: &str, input: &str) -> Result<Vec<String>, String> {
    let mut outputs = Outputs::default();
    program(text).run(Input::Json(input), &no_variables, &mut outputs).map_err(|fault| fault.message)?;
    Ok(outputs.iter().map(str::to_owned).collect())
}
