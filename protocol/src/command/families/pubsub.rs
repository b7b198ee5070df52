//! Messages to whoever listens at the moment.

use super::*;

const LISTEN: Flags = SESSION.or(Flags::PUBSUB);
const SPEAK: Flags = ALWAYS.or(Flags::PUBSUB).or(Flags::FAST);
const LOOK: Flags = ALWAYS.or(Flags::PUBSUB);

family! {
    /// Commands about channels.
    PubsubCommand, "pubsub", Acl::NONE;
    Psubscribe = row("psubscribe", -2).flags(LISTEN).since("2.0.0")
        .complexity("O(N) with N the number of patterns").usage("pattern [pattern ...]")
        .summary("Listens to all channels whose names match a pattern.");
    Publish = row("publish", 3).flags(SPEAK).route(Route::Channel).since("2.0.0")
        .complexity("O(N+M) with N the number of subscribers of the channel and M the number of patterns")
        .usage("channel message").summary("Sends a message to those who listen to a channel now, and counts them.");
    Pubsub = row("pubsub", -2).flags(Flags::CONTAINER).since("2.8.0").complexity("Depends on the subcommand.")
        .usage("subcommand [argument ...]").summary("A container for commands that look at subscriptions.");
    PubsubChannels = row("pubsub|channels", -2).flags(LOOK).route(Route::AllShards).merge(Merge::Custom).since("2.8.0")
        .complexity("O(N) with N the number of channels").usage("[pattern]")
        .summary("Gives the channels that somebody listens to.");
    PubsubHelp = row("pubsub|help", 2).flags(ALWAYS).since("6.2.0").summary("Explains the subcommands.");
    PubsubNumpat = row("pubsub|numpat", 2).flags(LOOK).route(Route::AllShards).merge(Merge::Custom).since("2.8.0")
        .summary("Counts the patterns that somebody listens to.");
    PubsubNumsub = row("pubsub|numsub", -2).flags(LOOK).route(Route::AllShards).merge(Merge::Custom).since("2.8.0")
        .complexity("O(N) with N the number of channels that are asked about").usage("[channel ...]")
        .summary("Counts the subscribers of channels.");
    PubsubShardchannels = row("pubsub|shardchannels", -2).flags(LOOK).route(Route::AllShards).merge(Merge::Custom)
        .since("7.0.0").complexity("O(N) with N the number of shard channels").usage("[pattern]")
        .summary("Gives the shard channels that somebody listens to.");
    PubsubShardnumsub = row("pubsub|shardnumsub", -2).flags(LOOK).route(Route::AllShards).merge(Merge::Custom).since("7.0.0")
        .complexity("O(N) with N the number of shard channels that are asked about").usage("[shardchannel ...]")
        .summary("Counts the subscribers of shard channels.");
    Punsubscribe = row("punsubscribe", -1).flags(LISTEN).since("2.0.0")
        .complexity("O(N) with N the number of patterns").usage("[pattern ...]")
        .summary("Stops listening to patterns, or to all of them.");
    Spublish = row("spublish", 3).flags(SPEAK).keys(one(1)).route(Route::Key).since("7.0.0")
        .complexity("O(N) with N the number of subscribers of the shard channel").usage("shardchannel message")
        .summary("Sends a message to those who listen to a shard channel now, and counts them.");
    Ssubscribe = row("ssubscribe", -2).flags(LISTEN).keys(range(1, -1, 1)).route(Route::SplitKeys).merge(Merge::Custom)
        .since("7.0.0").complexity("O(N) with N the number of shard channels").usage("shardchannel [shardchannel ...]")
        .summary("Listens to shard channels: channels that belong to the shard of their names' slots.");
    Subscribe = row("subscribe", -2).flags(LISTEN).since("2.0.0")
        .complexity("O(N) with N the number of channels").usage("channel [channel ...]")
        .summary("Listens to channels.");
    Sunsubscribe = row("sunsubscribe", -1).flags(LISTEN).keys(range(1, -1, 1)).route(Route::SplitKeys).merge(Merge::Custom)
        .since("7.0.0").complexity("O(N) with N the number of shard channels").usage("[shardchannel ...]")
        .summary("Stops listening to shard channels, or to all of them.");
    Unsubscribe = row("unsubscribe", -1).flags(LISTEN).since("2.0.0")
        .complexity("O(N) with N the number of channels").usage("[channel ...]")
        .summary("Stops listening to channels, or to all of them.");
}
