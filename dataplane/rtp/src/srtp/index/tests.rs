use super::*;

/// Highest index so far as (ROC, SEQ), sequence number, expected ROC.
#[test]
fn estimate_follows_rfc_3711_section_3_3_1_and_appendix_a() {
    let rows = [
        ("next", (0, 1), 2, 0),
        ("duplicate", (5, 1), 1, 5),
        ("late", (5, 40_000), 39_990, 5),
        ("wrap", (0, 65_535), 0, 1),
        ("wrap with loss", (7, 65_500), 200, 8),
        ("late before the wrap", (8, 3), 65_530, 7),
        ("low half, exactly half ahead", (8, 0), 32_768, 8),
        ("low half, one more than half ahead", (8, 0), 32_769, 7),
        ("top of the low half, farthest ahead", (8, 32_767), 65_535, 8),
        ("high half, exactly half behind", (8, 65_535), 32_767, 8),
        ("high half, one more than half behind", (8, 65_535), 32_766, 9),
        ("bottom of the high half, farthest behind", (8, 32_768), 0, 8),
        ("ROC 0 has no predecessor", (0, 10), 65_530, 0),
        ("end of the key, no wrap", (u32::MAX, 65_530), 65_535, u32::MAX),
        ("end of the key, late", (u32::MAX, 2), 65_535, u32::MAX - 1),
    ];
    for (what, (roc, highest), seq, expected) in rows {
        let highest = Some(PacketIndex::new(Roc(roc), Seq(highest)));
        let index = PacketIndex::estimate(highest, Seq(seq));
        assert_eq!(index, Some(PacketIndex::new(Roc(expected), Seq(seq))), "{what}");
    }
}

#[test]
fn the_first_packet_has_rollover_counter_0() {
    for seq in [0, 1, 32_768, 65_535] {
        let index = PacketIndex::estimate(None, Seq(seq));
        assert_eq!(index, Some(PacketIndex::new(Roc(0), Seq(seq))));
    }
}

#[test]
fn a_wrap_past_the_last_rollover_counter_has_no_index() {
    let highest = Some(PacketIndex::MAX);
    assert_eq!(PacketIndex::estimate(highest, Seq(0)), None);
    assert_eq!(PacketIndex::estimate(highest, Seq(32_766)), None);
    assert_eq!(PacketIndex::estimate(highest, Seq(65_535)), highest);
}

/// Appendix A, word for word, as the oracle: all highest sequence numbers at the edges against all
/// sequence numbers.
#[test]
fn estimate_equals_appendix_a_wherever_the_rollover_counter_is_not_0() {
    let edges = [0, 1, 2, 32_766, 32_767, 32_768, 32_769, 65_534, 65_535];
    for s_l in edges {
        for seq in 0..=u16::MAX {
            let (roc, s, l) = (9u32, i32::from(seq), i32::from(s_l));
            let expected = if l < 32_768 {
                if s - l > 32_768 { roc - 1 } else { roc }
            } else if l - 32_768 > s {
                roc + 1
            } else {
                roc
            };
            let highest = Some(PacketIndex::new(Roc(roc), Seq(s_l)));
            let index = PacketIndex::estimate(highest, Seq(seq)).unwrap();
            assert_eq!((index.roc(), index.seq()), (Roc(expected), Seq(seq)), "{s_l} {seq}");
        }
    }
}

#[test]
fn parts_and_value_agree() {
    let index = PacketIndex::new(Roc(0x1234_5678), Seq(0x9abc));
    assert_eq!(index.value(), 0x1234_5678_9abc);
    assert_eq!((index.roc(), index.seq()), (Roc(0x1234_5678), Seq(0x9abc)));
    assert_eq!(PacketIndex::new(Roc(u32::MAX), Seq(u16::MAX)), PacketIndex::MAX);
}
