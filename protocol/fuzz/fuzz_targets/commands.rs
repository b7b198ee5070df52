//! Requests through the command table: names, keys, slots, errors, and the replies that the table renders.
#![no_main]

use libfuzzer_sys::fuzz_target;
use torc_protocol::command::{Command, KeySpec, answer_command, resolve, retry_is_safe};
use torc_protocol::glob;
use torc_protocol::resp::{OwnedArgs, ReplyWriter, Value, Version, split_args};
use torc_protocol::slot::{SLOTS, key_slot};

fuzz_target!(|data: &[u8]| {
    let Some(words) = split_args(data) else { return };
    let args = OwnedArgs::new(&words);
    let args = args.view();
    let mut out = Vec::new();
    let mut reply = ReplyWriter::new(&mut out, Version::Resp3);
    match resolve(&args) {
        Ok(command) => {
            let spec = command.spec();
            if let Ok(keys) = spec.find_keys(&args) {
                for index in keys {
                    assert!(key_slot(args.get(index).expect("a key is an argument")) < SLOTS);
                }
            } else {
                assert!(!matches!(spec.keys, KeySpec::None));
            }
            let _ = retry_is_safe(command, &args);
            if let Command::Server(command) = command {
                answer_command(command, &args, &mut reply);
            }
        }
        Err(error) => error.write(args, &mut reply),
    }
    if !out.is_empty() {
        let (_, len) = Value::decode(&out).expect("valid").expect("whole");
        assert_eq!(len, out.len(), "one reply");
    }
    if let [pattern, text, ..] = &words[..] {
        let _ = glob::matches(pattern, text);
        let _ = glob::matches_ignoring_case(pattern, text);
    }
});
