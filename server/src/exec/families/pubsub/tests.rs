use crate::exec::Session;
use crate::exec::testing::Harness;

fn messages(t: &Harness) -> String {
    let mut out = Vec::new();
    if let Some(subscriptions) = &t.session.subscriptions {
        subscriptions.mailbox().take(&mut out);
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[test]
fn subscribing_counts_channels_and_patterns_together() {
    let mut t = Harness::new();
    t.expect(&[
        (
            "SUBSCRIBE a b a",
            "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n\
             *3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:2\r\n",
        ),
        ("PSUBSCRIBE x*", "*3\r\n$10\r\npsubscribe\r\n$2\r\nx*\r\n:3\r\n"),
        ("SSUBSCRIBE s", "*3\r\n$10\r\nssubscribe\r\n$1\r\ns\r\n:1\r\n"),
        (
            "GET k",
            "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in \
             this context\r\n",
        ),
        ("PING", "*2\r\n$4\r\npong\r\n$0\r\n\r\n"),
        ("PING hi", "*2\r\n$4\r\npong\r\n$2\r\nhi\r\n"),
    ]);
    let mut other = Session::new(2, true);
    assert_eq!(t.run_as(&mut other, "PUBLISH a hi"), ":1\r\n");
    assert_eq!(t.run_as(&mut other, "PUBLISH xa hi"), ":1\r\n");
    assert_eq!(t.run_as(&mut other, "SPUBLISH s hi"), ":1\r\n");
    assert_eq!(
        t.run_as(&mut other, "PUBSUB NUMSUB a b c"),
        "*6\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n:1\r\n$1\r\nc\r\n:0\r\n"
    );
    assert_eq!(t.run_as(&mut other, "PUBSUB CHANNELS a*"), "*1\r\n$1\r\na\r\n");
    assert_eq!(t.run_as(&mut other, "PUBSUB NUMPAT"), ":1\r\n");
    assert_eq!(
        messages(&t),
        "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n*4\r\n$8\r\npmessage\r\n$2\r\nx*\r\n$2\r\nxa\r\n$2\r\nhi\r\n\
         *3\r\n$8\r\nsmessage\r\n$1\r\ns\r\n$2\r\nhi\r\n"
    );
    t.expect(&[
        ("UNSUBSCRIBE nosuch", "*3\r\n$11\r\nunsubscribe\r\n$6\r\nnosuch\r\n:3\r\n"),
        (
            "UNSUBSCRIBE",
            "*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:2\r\n*3\r\n$11\r\nunsubscribe\r\n$1\r\nb\r\n:1\r\n",
        ),
        ("UNSUBSCRIBE", "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:1\r\n"),
        ("PUNSUBSCRIBE", "*3\r\n$12\r\npunsubscribe\r\n$2\r\nx*\r\n:0\r\n"),
        ("SUNSUBSCRIBE", "*3\r\n$12\r\nsunsubscribe\r\n$1\r\ns\r\n:0\r\n"),
        ("GET k", "$-1\r\n"),
    ]);
}

#[test]
fn reset_ends_all_subscriptions_silently() {
    let mut t = Harness::new();
    t.run("SUBSCRIBE a");
    t.expect(&[("RESET", "+RESET\r\n"), ("PUBLISH a x", ":0\r\n")]);
}

#[test]
fn version_three_may_do_all_and_gets_push_messages() {
    let mut t = Harness::new();
    t.resp3();
    t.expect(&[
        ("SUBSCRIBE a", ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"),
        ("PING", "+PONG\r\n"),
        ("PUBLISH a x", ":1\r\n"),
        ("UNSUBSCRIBE b", ">3\r\n$11\r\nunsubscribe\r\n$1\r\nb\r\n:1\r\n"),
        ("PUNSUBSCRIBE", ">3\r\n$12\r\npunsubscribe\r\n_\r\n:1\r\n"),
    ]);
    assert_eq!(messages(&t), ">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n");
}

#[test]
fn transactions_and_scripts_publish() {
    let mut t = Harness::new();
    t.expect(&[
        ("MULTI", "+OK\r\n"),
        ("SUBSCRIBE a", "+QUEUED\r\n"),
        ("SSUBSCRIBE a", "+QUEUED\r\n"),
        ("PUBLISH a x", "+QUEUED\r\n"),
        (
            "EXEC",
            "*3\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n-ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client\r\n\
             :1\r\n",
        ),
    ]);
    let mut other = Session::new(2, true);
    assert_eq!(t.run_as(&mut other, "EVAL \"return redis.call('publish', 'a', 'y')\" 0"), ":1\r\n");
    assert!(messages(&t).ends_with("$1\r\nx\r\n*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\ny\r\n"));
}
