//! Strings as rows of bits.

use super::*;

family! {
    /// Commands about the bits of strings.
    BitmapCommand, "bitmap", Acl::BITMAP;
    Bitcount = row("bitcount", -2).flags(READ).keys(one(1)).route(Route::Key).since("2.6.0").complexity("O(N)")
        .usage("key [start [end [BYTE | BIT]]]").summary("Counts the bits that are set.");
    Bitfield = row("bitfield", -2).flags(WRITE_OOM).keys(one(1)).route(Route::Key).since("3.2.0")
        .complexity("O(1) for each operation")
        .usage("key [GET type offset | [OVERFLOW WRAP | SAT | FAIL] SET type offset value | \
                INCRBY type offset increment ...]")
        .summary("Reads and changes integers of any width inside a string.");
    BitfieldRo = row("bitfield_ro", -2).flags(READ_FAST).keys(one(1)).route(Route::Key).since("6.0.0")
        .complexity("O(1) for each operation").usage("key [GET type offset ...]")
        .summary("Reads integers of any width inside a string.");
    Bitop = row("bitop", -4).flags(WRITE_OOM).keys(range(2, -1, 1)).route(Route::Key).since("2.6.0")
        .complexity("O(N)").usage("AND | OR | XOR | NOT destination key [key ...]")
        .summary("Joins strings bit by bit and stores the outcome.");
    Bitpos = row("bitpos", -3).flags(READ).keys(one(1)).route(Route::Key).since("2.8.7").complexity("O(N)")
        .usage("key bit [start [end [BYTE | BIT]]]").summary("Finds the first bit that is set or clear.");
    Getbit = row("getbit", 3).flags(READ_FAST).keys(one(1)).route(Route::Key).since("2.2.0")
        .usage("key offset").summary("Gives one bit of a string.");
    Setbit = row("setbit", 4).flags(WRITE_OOM).keys(one(1)).route(Route::Key).since("2.2.0")
        .usage("key offset value").summary("Sets or clears one bit of a string and gives its former value.");
}
