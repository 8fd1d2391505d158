use super::*;

#[track_caller]
fn error(text: &str) -> (String, usize, usize) {
    let error = Program::parse(text).map(|_| ()).expect_err(text);
    (error.message, error.line, error.column)
}

#[test]
fn errors_name_their_place() {
    for (text, message, line, column) in [
        (".temp >", "ends where term is expected", 1, 8),
        (".a |\n  foo(1)", "there is no function `foo`", 2, 3),
        (".a | slect(.b)", "did you mean `select`", 1, 6),
        (".a | select", "`select` takes 1 arguments, not 0", 1, 6),
        ("$topics", "did you mean `$topic`", 1, 1),
        ("[1, 2", "`[` is not closed", 1, 1),
        ("\"abc", "`\"` is not closed", 1, 1),
        ("1 )", "this begins nothing", 1, 3),
        (".a }", "this begins nothing", 1, 4),
        ("if . then 1", "ends where else or end", 1, 12),
        ("", "is empty", 1, 1),
        ("  # nothing\n", "is empty", 1, 1),
        ("1 2", "`2` does not belong here", 1, 3),
        ("include \"x\"; .", "does not belong here", 1, 9),
        ("ä | 1", "this begins nothing", 1, 1),
        ("\"ä\" | foo", "no function `foo`", 1, 7),
        ("now", "use `$received_at`", 1, 1),
        ("$ENV.HOME", "reads nothing but the message", 1, 1),
        ("[inputs]", "there is one input", 1, 2),
        (". | halt", "is not available", 1, 5),
        ("debug", "is not available", 1, 1),
        ("input", "is not available", 1, 1),
        ("localtime", "time zone", 1, 1),
        ("break $x", "no label `$x`", 1, 7),
    ] {
        let (found, found_line, found_column) = error(text);
        assert!(found.contains(message), "{text}: {found}");
        assert_eq!((found_line, found_column), (line, column), "{text}: {found}");
    }
}

#[test]
fn a_program_has_a_bounded_size_and_depth() {
    let long = format!("\"{}\"", "x".repeat(PROGRAM_BYTES_MAX));
    assert!(error(&long).0.contains("65536 are accepted"));
    assert!(error(&"(".repeat(300)).0.contains("200 deep"));
    for deep in
        ["- ", "1 | ", "1 + ", "1, ", ". as $x | ", "def f: 1; ", "try ", "if . then 1 else ", "1 // ", "1 and "]
    {
        let text = format!("{}1", deep.repeat(30_000 / deep.len()));
        // Whether it is refused or not: nothing overflows.
        let _ = Program::parse(&text);
        let text = deep.repeat(60_000 / deep.len());
        assert!(Program::parse(&text).is_err());
    }
}

#[test]
fn programs_are_equal_by_their_text() {
    assert_eq!(program(".a"), program(".a"));
    assert_ne!(program(".a"), program(".b"));
}
