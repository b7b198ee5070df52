//! Who gets what, and in which form.

use std::sync::Arc;

use torc_protocol::resp::Version;

use super::*;
use crate::clients::Client;

fn client(id: u64) -> Arc<Client> {
    Arc::new(Client::new(id, "a:1".into(), "b:2".into(), 3, false, 2, 0))
}

fn listener(registry: &Arc<PubSub>, id: u64, version: Version) -> Subscriptions {
    Subscriptions::new(registry.clone(), client(id), version)
}

fn taken(subscriptions: &Subscriptions) -> String {
    let mut out = Vec::new();
    subscriptions.mailbox().take(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

#[test]
fn each_gets_a_message_in_its_own_form_and_once_for_each_match() {
    let registry = Arc::new(PubSub::new(1));
    assert_eq!(registry.publish(b"news", b"x"), 0);
    let mut old = listener(&registry, 1, Version::Resp2);
    let mut new = listener(&registry, 2, Version::Resp3);
    for listener in [&mut old, &mut new] {
        listener.add(Kind::Channel, b"news").expect("few");
        listener.add(Kind::Channel, b"news").expect("few");
    }
    new.add(Kind::Pattern, b"n*").expect("few");
    new.add(Kind::Shard, b"news").expect("few");
    assert_eq!((new.shown_count(Kind::Channel), new.shown_count(Kind::Shard)), (2, 1));
    assert_eq!(registry.publish(b"news", b"x"), 3);
    assert_eq!(registry.publish(b"other", b"x"), 0);
    assert_eq!(registry.publish_shard(b"news", b"y"), 1);
    assert_eq!(taken(&old), "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$1\r\nx\r\n");
    assert_eq!(
        taken(&new),
        ">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$1\r\nx\r\n>4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$1\r\nx\r\n\
         >3\r\n$8\r\nsmessage\r\n$4\r\nnews\r\n$1\r\ny\r\n"
    );
    assert!(!new.mailbox().is_waiting());
}

#[test]
fn nothing_is_left_of_who_has_gone() {
    let registry = Arc::new(PubSub::new(1));
    let mut one = listener(&registry, 1, Version::Resp2);
    let mut two = listener(&registry, 2, Version::Resp2);
    for name in [&b"a"[..], b"b"] {
        one.add(Kind::Channel, name).expect("few");
        two.add(Kind::Channel, name).expect("few");
        two.add(Kind::Pattern, name).expect("few");
        two.add(Kind::Shard, name).expect("few");
    }
    assert!(one.remove(Kind::Channel, b"a") && !one.remove(Kind::Channel, b"a"));
    assert_eq!(registry.subscribers(Kind::Channel, b"a"), 1);
    assert_eq!(registry.names(Kind::Channel, Some(b"b*")).len(), 1);
    drop(two);
    assert_eq!(Kind::ALL.map(|kind| registry.count(kind)), [1, 0, 0]);
    drop(one);
    assert_eq!(Kind::ALL.map(|kind| registry.count(kind)), [0, 0, 0]);
}

#[test]
fn shard_channels_end_with_their_slots() {
    let registry = Arc::new(PubSub::new(1));
    let mut one = listener(&registry, 1, Version::Resp2);
    let mut two = listener(&registry, 2, Version::Resp3);
    for name in [&b"stays"[..], b"goes"] {
        one.add(Kind::Shard, name).expect("few");
    }
    two.add(Kind::Shard, b"goes").expect("few");
    two.add(Kind::Channel, b"goes").expect("few");
    let stays = torc_protocol::slot::key_slot(b"stays");
    registry.end_shard_subscriptions(|slot| slot == stays);
    assert_eq!(taken(&one), "*3\r\n$12\r\nsunsubscribe\r\n$4\r\ngoes\r\n:1\r\n");
    assert_eq!(taken(&two), ">3\r\n$12\r\nsunsubscribe\r\n$4\r\ngoes\r\n:0\r\n");
    assert_eq!((one.shown_count(Kind::Shard), two.shown_count(Kind::Shard)), (1, 0));
    assert!(!two.remove(Kind::Shard, b"goes") && two.any());
    assert_eq!((registry.publish_shard(b"goes", b"x"), registry.publish_shard(b"stays", b"x")), (0, 1));
    assert_eq!(registry.publish(b"goes", b"x"), 1);
    registry.end_shard_subscriptions(|_| false);
    assert!(!one.any() && registry.count(Kind::Shard) == 0);
    one.add(Kind::Shard, b"goes").expect("few");
    assert_eq!(registry.publish_shard(b"goes", b"x"), 1);
}

#[test]
fn a_node_has_bounds_too() {
    let mut registry = PubSub::new(1);
    (registry.max_patterns, registry.max_name_bytes) = (1, 600);
    let registry = Arc::new(registry);
    let mut one = listener(&registry, 1, Version::Resp2);
    let mut two = listener(&registry, 2, Version::Resp2);
    one.add(Kind::Pattern, b"a*").expect("the first");
    two.add(Kind::Pattern, b"a*").expect("the same");
    assert_eq!(two.add(Kind::Pattern, b"b*"), Err(TooMany::OfNode));
    one.add(Kind::Shard, b"s").expect("few");
    assert_eq!(two.add(Kind::Channel, &[b'x'; 200]), Err(TooMany::OfNode));
    registry.end_shard_subscriptions(|_| false);
    drop(one);
    two.add(Kind::Channel, &[b'x'; 200]).expect("there is room again");
}

#[test]
fn who_does_not_keep_up_is_closed() {
    let registry = Arc::new(PubSub::new(1));
    registry.set_limit(100);
    let mut slow = listener(&registry, 1, Version::Resp2);
    slow.add(Kind::Channel, b"c").expect("few");
    registry.publish(b"c", &[b'x'; 40]);
    assert!(!slow.mailbox().client().must_close());
    registry.publish(b"c", &[b'x'; 40]);
    assert!(slow.mailbox().client().must_close());
    assert_eq!(taken(&slow), "");
}

#[test]
fn a_change_of_version_does_not_mix_messages() {
    let registry = Arc::new(PubSub::new(1));
    let mut one = listener(&registry, 1, Version::Resp2);
    one.add(Kind::Channel, b"c").expect("few");
    registry.publish(b"c", b"old");
    let mut out = Vec::new();
    one.mailbox().set_version(Version::Resp3, &mut out);
    assert!(out.starts_with(b"*3"));
    registry.publish(b"c", b"new");
    assert!(taken(&one).starts_with(">3"));
}
