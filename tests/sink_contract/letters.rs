//! What is promised about batches that are guarded by dead letters and not by the offset.

use rowbridge::batch::{Amendment, Guard};
use rowbridge::clock::Timestamp;
use rowbridge::schema::Cell;
use rowbridge::sink::{Class, Sink};

use super::{BatchBuilder, TestDatabase, dead_letter, fails_as, next_seq, ready};

pub(crate) async fn letters_guard_their_batch_while_the_offset_moves<D: TestDatabase>(database: &D) {
    let (mut sink, schema) = ready(database).await;
    let mut builder = BatchBuilder::new(sink.encoder(), 1, 4);
    builder.batch.dead_letters = (1..=3).map(|seq| dead_letter(seq, Timestamp(0))).collect();
    sink.write(&builder.batch).await.unwrap();
    let [first, second, third] =
        [1, 2, 3].map(|seq| database.number(&format!("SELECT id FROM rowbridge_dead_letters WHERE seq = {seq}")));
    let stored = || {
        let letters = database.number("SELECT count(*) FROM rowbridge_dead_letters");
        (database.number("SELECT count(*) FROM readings"), letters)
    };
    let amend = |id| Amendment { id, reason: "constraint", error: "again, says \u{1F321}\0".to_owned() };

    // From an offset at which the bridge is not.
    let mut builder = BatchBuilder::new(sink.encoder(), 77, 77);
    let table = builder.table(&schema);
    builder.unit(table, &[&[Cell::Int(1), Cell::Text("a")]]);
    builder.batch.guard = Guard::Letters;
    builder.batch.released = vec![first];
    builder.batch.amended = vec![amend(second), amend(third)];
    assert_eq!(sink.refused_units(&builder.batch).await.unwrap().units, []);
    assert_eq!(stored(), (0, 3));
    sink.write(&builder.batch).await.unwrap();
    assert_eq!((stored(), next_seq(&mut sink).await), ((1, 2), 4));
    let amended = "SELECT count(*) FROM rowbridge_dead_letters WHERE attempts = 2 AND reason = 'constraint' \
                   AND error LIKE '%again, says%' AND seq IN (2, 3)";
    assert_eq!(database.number(amended), 2);

    // Of what is taken out, and of what is amended, all must be there.
    let mut builder = BatchBuilder::new(sink.encoder(), 77, 77);
    let table = builder.table(&schema);
    builder.unit(table, &[&[Cell::Int(2), Cell::Text("b")]]);
    builder.batch.guard = Guard::Letters;
    builder.batch.released = vec![second];
    builder.batch.amended = vec![amend(first)];
    fails_as(sink.write(&builder.batch).await, Class::OffsetMoved);
    fails_as(sink.write_in_order(&builder.batch).await, Class::OffsetMoved);
    builder.batch.released = vec![second, first];
    builder.batch.amended = vec![amend(third)];
    fails_as(sink.write(&builder.batch).await, Class::OffsetMoved);
    assert_eq!((stored(), database.number(amended)), ((1, 2), 2));
    builder.batch.released = vec![second, third];
    builder.batch.amended = vec![];
    sink.write_in_order(&builder.batch).await.unwrap();
    assert_eq!((stored(), next_seq(&mut sink).await), ((2, 0), 4));

    // Without rows as well.
    builder.batch.excluded = vec![0];
    fails_as(sink.write(&builder.batch).await, Class::OffsetMoved);
}
