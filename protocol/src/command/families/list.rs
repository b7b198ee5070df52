//! Lists.

use super::*;

const BLOCKING: Flags = Flags::WRITE.or(Flags::BLOCKING);

family! {
    /// Commands about lists.
    ListCommand, "list", Acl::LIST;
    Blmove = row("blmove", 6).flags(BLOCKING.or(Flags::DENYOOM)).keys(range(1, 2, 1)).route(Route::Key)
        .wait(Wait::Seconds(5)).since("6.2.0").usage("source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout")
        .summary("Moves an element from one list to another, and waits for one if need be.");
    Blmpop = row("blmpop", -5).flags(BLOCKING.or(Flags::MOVABLEKEYS)).keys(numkeys(2, 3)).route(Route::Key)
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
    Brpoplpush = row("brpoplpush", 4).flags(BLOCKING.or(Flags::DENYOOM)).keys(range(1, 2, 1)).route(Route::Key)
        .wait(Wait::Seconds(3)).since("2.2.0").usage("source destination timeout")
        .summary("Moves the last element of a list to the beginning of another, and waits for one if need be.");
    Lindex = row("lindex", 3).flags(READ).keys(one(1)).route(Route::Key).since("1.0.0")
        .complexity("O(N) with N the number of elements on the way to it, O(1) at either end").usage("key index")
        .summary("Gives the element at an index.");
    Linsert = row("linsert", 5).flags(WRITE_OOM).keys(one(1)).route(Route::Key).since("2.2.0")
        .complexity("O(N) with N the number of elements in front of the pivot")
        .usage("key <BEFORE | AFTER> pivot element").summary("Puts an element in front of another one or behind it.");
    Llen = row("llen", 2).flags(READ_FAST).keys(one(1)).route(Route::Key).since("1.0.0")
        .usage("key").summary("Counts the elements of a list.");
    Lmove = row("lmove", 5).flags(WRITE_OOM).keys(range(1, 2, 1)).route(Route::Key).since("6.2.0")
        .usage("source destination <LEFT | RIGHT> <LEFT | RIGHT>")
        .summary("Moves an element from an end of one list to an end of another.");
    Lmpop = row("lmpop", -4).flags(WRITE.or(Flags::MOVABLEKEYS)).keys(numkeys(1, 2)).route(Route::Key)
        .since("7.0.0").complexity("O(N+M) with N the number of keys and M the number of elements that are taken")
        .usage("numkeys key [key ...] <LEFT | RIGHT> [COUNT count]")
        .summary("Takes elements from the first list that has any.");
    Lpop = row("lpop", -2).flags(WRITE_FAST).keys(one(1)).route(Route::Key).since("1.0.0")
        .complexity("O(N) with N the number of elements that are taken").usage("key [count]")
        .summary("Takes elements from the beginning of a list.");
    Lpos = row("lpos", -3).flags(READ).keys(one(1)).route(Route::Key).since("6.0.6")
        .complexity("O(N) with N the number of elements that are looked at")
        .usage("key element [RANK rank] [COUNT num-matches] [MAXLEN len]")
        .summary("Gives the indexes at which an element stands.");
    Lpush = row("lpush", -3).flags(WRITE_OOM_FAST).keys(one(1)).route(Route::Key).since("1.0.0")
        .complexity("O(N) with N the number of elements").usage("key element [element ...]")
        .summary("Puts elements at the beginning of a list, one in front of the other.");
    Lpushx = row("lpushx", -3).flags(WRITE_OOM_FAST).keys(one(1)).route(Route::Key).since("2.2.0")
        .complexity("O(N) with N the number of elements").usage("key element [element ...]")
        .summary("Puts elements at the beginning of a list that exists.");
    Lrange = row("lrange", 4).flags(READ).keys(one(1)).route(Route::Key).since("1.0.0")
        .complexity("O(S+N) with S the distance of the start from the nearer end and N the number of elements")
        .usage("key start stop").summary("Gives the elements between two indexes.");
    Lrem = row("lrem", 4).flags(WRITE).keys(one(1)).route(Route::Key).since("1.0.0")
        .complexity("O(N) with N the length of the list").usage("key count element")
        .summary("Removes elements that are equal to one.");
    Lset = row("lset", 4).flags(WRITE_OOM).keys(one(1)).route(Route::Key).since("1.0.0")
        .complexity("O(N) with N the length of the list, O(1) at either end").usage("key index element")
        .summary("Puts another element in the place of that at an index.");
    Ltrim = row("ltrim", 4).flags(WRITE).keys(one(1)).route(Route::Key).since("1.0.0")
        .complexity("O(N) with N the number of elements that go").usage("key start stop")
        .summary("Keeps the elements between two indexes and drops the others.");
    Rpop = row("rpop", -2).flags(WRITE_FAST).keys(one(1)).route(Route::Key).since("1.0.0")
        .complexity("O(N) with N the number of elements that are taken").usage("key [count]")
        .summary("Takes elements from the end of a list.");
    Rpoplpush = row("rpoplpush", 3).flags(WRITE_OOM).keys(range(1, 2, 1)).route(Route::Key).since("1.2.0")
        .usage("source destination").summary("Moves the last element of a list to the beginning of another.");
    Rpush = row("rpush", -3).flags(WRITE_OOM_FAST).keys(one(1)).route(Route::Key).since("1.0.0")
        .complexity("O(N) with N the number of elements").usage("key element [element ...]")
        .summary("Puts elements at the end of a list.");
    Rpushx = row("rpushx", -3).flags(WRITE_OOM_FAST).keys(one(1)).route(Route::Key).since("2.2.0")
        .complexity("O(N) with N the number of elements").usage("key element [element ...]")
        .summary("Puts elements at the end of a list that exists.");
}
