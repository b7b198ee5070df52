//! Values in the form of RDB, as RESTORE takes them from clients: what is read can be written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use torc_server::rdb;
use torc_server::store::hash::DEFAULT_SEED;
use torc_server::store::{Env, KeyHasher, Limits};

fuzz_target!(|data: &[u8]| {
    let env = Env { limits: Limits::default(), hasher: KeyHasher::new(DEFAULT_SEED) };
    let _ = rdb::payload::open(data);
    if let Ok(value) = rdb::read_value(data, &env) {
        for write in [rdb::write_value, rdb::write_readable] {
            let mut again = Vec::new();
            write(value.view(), &mut again);
            let back = rdb::read_value(&again, &env).expect("what was written can be read");
            assert_eq!(back.view().type_name(), value.view().type_name());
        }
    }
});
