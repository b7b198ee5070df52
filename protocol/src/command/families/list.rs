//! Lists.

use super::*;

const BLOCKING: Flags = Flags::WRITE.or(Flags::BLOCKING);

family! {
    /// Commands about lists.
    ListCommand, "list", Acl::LIST;
    Blmpop = row("blmpop", -5).flags(BLOCKING.or(Flags::MOVABLEKEYS)).keys(loose_numkeys(2, 3)).route(Route::Key)
        .wait(Wait::Seconds(1)).since("7.0.0")
        .complexity("O(N+M) with N the number of keys and M the number of elements that are taken")
        .usage("timeout numkeys key [key ...] <LEFT | RIGHT> [COUNT count]")
        .summary("Takes elements from the first list that has any, and waits for one if need be.");
    Blpop = row("blpop", -3).flags(BLOCKING).keys(range(1, -2, 1)).route(Route::Key).wait(Wait::Seconds(-1))
        .since("2.0.0").complexity("O(N) with N the number of keys").usage("key [key ...] timeout")
        .summary("Takes the first element of the first list that has one, and waits for one if need be.");
    Brpop = row("brpop", -3).flags(BLOCKING).keys(range(1, -2, 1)).route(Route::Key).wait(Wait::Seconds(-1))
        .since("2.0.0").complexity("O(N) with N the number of keys").usage("key [key ...] timeout")
        .summary("Takes the last element of the first list that has one, and waits for one if need be.");
    Llen = row("llen", 2).flags(READ_FAST).keys(one(1)).route(Route::Key).since("1.0.0")
        .usage("key").summary("Counts the elements of a list.");
    Lmpop = row("lmpop", -4).flags(WRITE.or(Flags::MOVABLEKEYS)).keys(loose_numkeys(1, 2)).route(Route::Key)
        .since("7.0.0").complexity("O(N+M) with N the number of keys and M the number of elements that are taken")
        .usage("numkeys key [key ...] <LEFT | RIGHT> [COUNT count]")
        .summary("Takes elements from the first list that has any.");
    Lpop = row("lpop", -2).flags(WRITE_FAST).keys(one(1)).route(Route::Key).since("1.0.0")
        .complexity("O(N) with N the number of elements that are taken").usage("key [count]")
        .summary("Takes elements from the beginning of a list.");
    Lpush = row("lpush", -3).flags(WRITE_OOM_FAST).keys(one(1)).route(Route::Key).since("1.0.0")
        .complexity("O(N) with N the number of elements").usage("key element [element ...]")
        .summary("Puts elements at the beginning of a list, one in front of the other.");
    Rpop = row("rpop", -2).flags(WRITE_FAST).keys(one(1)).route(Route::Key).since("1.0.0")
        .complexity("O(N) with N the number of elements that are taken").usage("key [count]")
        .summary("Takes elements from the end of a list.");
    Rpush = row("rpush", -3).flags(WRITE_OOM_FAST).keys(one(1)).route(Route::Key).since("1.0.0")
        .complexity("O(N) with N the number of elements").usage("key element [element ...]")
        .summary("Puts elements at the end of a list.");
}
