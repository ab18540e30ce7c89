//! Prompts from files to octets.

use std::f64::consts::TAU;

use audio_codec::Decoder;
use audio_codec::g722::G722Decoder;

use recording::encode;

use super::*;
use crate::g711::Law;

/// A file as recorders write it.
fn file(sample_rate: u32, channels: u16, samples: &[i16]) -> Vec<u8> {
    let sample_format = hound::SampleFormat::Int;
    let spec = hound::WavSpec { channels, sample_rate, bits_per_sample: 16, sample_format };
    let mut file = std::io::Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut file, spec).unwrap();
    samples.iter().for_each(|sample| writer.write_sample(*sample).unwrap());
    writer.finalize().unwrap();
    file.into_inner()
}

/// The octets of a prompt, silence included.
fn octets(audio: &Audio) -> &[u8] {
    match &audio.said {
        Said::Loaded(octets) => octets,
        Said::Shelf { .. } => unreachable!("prompts are loaded"),
    }
}

fn tone(hz: f64, rate_hz: u32, ms: u32) -> Vec<i16> {
    let at = |n: u32| (TAU * hz * f64::from(n) / f64::from(rate_hz)).sin();
    (0..rate_hz / 1000 * ms).map(|n| (8000.0 * at(n)) as i16).collect()
}

/// A directory of files, gone when the test is over.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str, files: &[(&str, Vec<u8>)]) -> Directory {
        let path = std::env::temp_dir().join(format!("prompts-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        for (name, bytes) in files {
            fs::write(path.join(name), bytes).unwrap();
        }
        Directory(path)
    }

    fn fault(&self) -> String {
        Prompts::load(&self.0).unwrap_err().to_string()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn wav_files_become_prompts_by_their_names_and_other_files_do_not() {
    let directory = Directory::new(
        "names",
        &[
            ("de.busy.wav", file(16_000, 1, &tone(440.0, 16_000, 250))),
            ("closing-1_a.WAV", file(8000, 1, &tone(440.0, 8000, 1000))),
            ("README.txt", b"not audio".to_vec()),
        ],
    );
    let prompts = Prompts::load(&directory.0).unwrap();
    assert_eq!(prompts.names().collect::<Vec<_>>(), [("closing-1_a", 1000), ("de.busy", 250)]);
    for codec in Codec::ALL {
        let audio = prompts.audio("de.busy", codec).unwrap();
        assert_eq!((audio.codec(), audio.len()), (codec, 2000));
        assert!(prompts.audio("busy", codec).is_none());
    }
}

#[test]
fn an_empty_directory_holds_no_prompts_and_a_missing_one_is_an_error() {
    let directory = Directory::new("empty", &[]);
    assert_eq!(Prompts::load(&directory.0).unwrap().names().count(), 0);
    let missing = Prompts::load(&directory.0.join("missing")).unwrap_err();
    assert!(missing.to_string().contains("media.prompts"), "{missing}");
}

#[test]
fn faults_name_the_file_the_cause_and_the_remedy() {
    let good = || file(8000, 1, &[0; 80]);
    let long_name = format!("{}.wav", "a".repeat(PROMPT_NAME_MAX + 1));
    for (n, (name, bytes, words)) in [
        ("Busy.wav", good(), ["Busy.wav", "rename"]),
        ("a b.wav", good(), ["a b.wav", "rename"]),
        (long_name.as_str(), good(), ["aaaa", "rename"]),
        ("text.wav", b"hello".to_vec(), ["text.wav", "convert"]),
        ("cd.wav", file(44_100, 2, &[0; 80]), ["44100 Hz", "sox"]),
        ("cut.wav", good()[..100].to_vec(), ["cut.wav", "copy or export"]),
        ("none.wav", file(8000, 1, &[]), ["none.wav", "record"]),
        ("long.wav", file(8000, 1, &vec![0; 480_001]), ["60 s", "shorten"]),
        ("big.wav", vec![0; PROMPT_BYTES_MAX as usize + 1], ["big.wav", "shorten"]),
    ]
    .into_iter()
    .enumerate()
    {
        let directory = Directory::new(&format!("fault-{n}"), &[(name, bytes)]);
        let fault = directory.fault();
        assert!(words.iter().all(|word| fault.contains(word)), "{name}: {fault}");
    }
}

#[test]
fn a_name_is_there_once() {
    let wav = file(8000, 1, &[0; 80]);
    let directory = Directory::new("twice", &[("a.wav", wav.clone()), ("a.WAV", wav)]);
    assert!(directory.fault().contains("rename"));
}

#[test]
fn there_are_so_many_prompts_and_no_more() {
    let wav = file(8000, 1, &[0; 80]);
    let names: Vec<String> = (0..=PROMPTS_MAX).map(|n| format!("p{n}.wav")).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), wav.clone())).collect();
    let directory = Directory::new("many", &files[..PROMPTS_MAX]);
    assert_eq!(Prompts::load(&directory.0).unwrap().names().count(), PROMPTS_MAX);
    fs::write(directory.0.join(files[PROMPTS_MAX].0), &wav).unwrap();
    assert!(directory.fault().contains("remove some"));
}

#[test]
fn all_prompts_together_have_a_limit() {
    let minute = file(8000, 1, &vec![0; 60 * 8000]);
    let count = PROMPTS_SECONDS_MAX / 60 + 1;
    let names: Vec<String> = (0..count).map(|n| format!("p{n}.wav")).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), minute.clone())).collect();
    let directory = Directory::new("total", &files);
    assert!(directory.fault().contains("1200 s"), "{}", directory.fault());
}

#[test]
fn g711_says_what_was_recorded() {
    let samples = tone(1000.0, 8000, 100);
    let audio = audio(encode(&Samples::Narrow(samples.clone())));
    for codec in [Codec::Pcmu, Codec::Pcma] {
        let law = codec.law().unwrap();
        let audio = audio.iter().find(|audio| audio.codec == codec).unwrap();
        let mut octets = vec![0; 160];
        audio.write(160, false, &mut octets);
        for (octet, sample) in octets.iter().zip(&samples[160..]) {
            assert!(law.decode(*octet).abs_diff(*sample) <= 300, "{codec:?}");
        }
    }
}

/// Signal to noise of G.722 there and back, at the best alignment of its filters' delay.
fn g722_snr_db(hz: f64, rate_hz: u32) -> f64 {
    let samples = tone(hz, rate_hz, 400);
    let samples = match rate_hz {
        8000 => Samples::Narrow(samples),
        _ => Samples::Wide(samples),
    };
    let [_, _, audio] = audio(encode(&samples));
    let mut decoded = vec![0; 4 * octets(&audio).len()];
    let len = G722Decoder::new().decode_into(octets(&audio), &mut decoded).unwrap();
    let exact = tone(hz, 16_000, 400);
    (0..48)
        .map(|delay| {
            let pairs = exact[1000..5000].iter().zip(&decoded[1000 + delay..len]);
            let error: f64 = pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
            10.0 * (4000.0 * 3.2e7 / error).log10()
        })
        .fold(f64::MIN, f64::max)
}

#[test]
fn g722_says_what_was_recorded_in_both_bands() {
    for (hz, rate_hz, least_db) in
        [(440.0, 16_000, 30.0), (1000.0, 8000, 25.0), (5500.0, 16_000, 8.0)]
    {
        let snr_db = g722_snr_db(hz, rate_hz);
        assert!(snr_db > least_db, "{hz} Hz: {snr_db:.1} dB");
    }
}

/// What libg722, the C implementation that most gateways use, makes of the same samples, from where
/// the first sample is forgotten.
#[test]
fn g722_octets_are_those_of_the_reference() {
    let sample = |n: i32| ((n * n * 97 + n * 1031) % 20_011 - 10_005) as i16;
    let [_, _, audio] = audio(encode(&Samples::Wide((0..128).map(sample).collect())));
    assert_eq!(octets(&audio)[16..64], G722_REFERENCE);
}

const G722_REFERENCE: [u8; 48] = [
    0x3d, 0x98, 0x1d, 0xb4, 0x35, 0x39, 0xac, 0x96, 0x32, 0x34, 0x3e, 0x19, 0x17, 0x17, 0x1c, 0x1f,
    0x2e, 0xd7, 0xbf, 0xf3, 0x3d, 0xdf, 0xbf, 0x32, 0xfe, 0x1c, 0xfe, 0x1d, 0x68, 0x8c, 0xe6, 0x74,
    0x58, 0xcd, 0xab, 0x6d, 0xf0, 0xf4, 0x76, 0xf5, 0x72, 0xef, 0x2c, 0x0d, 0xd5, 0xfd, 0x2e, 0x10,
];

#[test]
fn the_end_is_followed_by_silence_and_a_loop_by_its_start() {
    let [audio, ..] = audio(encode(&Samples::Narrow(tone(500.0, 8000, 95))));
    assert_eq!(audio.len(), 800, "whole 10 ms");
    let (mut once, mut looped) = ([0; 480], [0; 480]);
    audio.write(640, false, &mut once);
    audio.write(640, true, &mut looped);
    assert_eq!(once[..160], looped[..160]);
    assert!(once[160..].iter().all(|octet| *octet == Law::Mu.encode(0)));
    assert_eq!(looped[160..], octets(&audio)[..320]);
    let mut again = [0; 480];
    audio.write(640 + 800 * 1_000_000, true, &mut again);
    assert_eq!(again, looped);
    audio.write(u64::MAX, false, &mut once);
    assert!(once.iter().all(|octet| *octet == Law::Mu.encode(0)));
}

#[test]
fn names_keep_to_their_alphabet() {
    for name in ["a", "0", "de.unknown-number_2", &"x".repeat(PROMPT_NAME_MAX)] {
        assert!(Prompts::is_name(name), "{name}");
    }
    for name in ["", "A", "a/b", "..\0", "ä", &"x".repeat(PROMPT_NAME_MAX + 1)] {
        assert!(!Prompts::is_name(name), "{name}");
    }
}

#[test]
fn what_is_on_the_shelf_is_said_in_each_codec_as_if_it_had_been_loaded() {
    use abi::shelf::shelf_span;
    let host = abi::Host::create(0, abi::Shape { flows: 1, commands: 2, events: 2 }).unwrap();
    let fd = host.fd().try_clone_to_owned().unwrap();
    let mut guest = abi::Guest::attach(fd).unwrap();
    let loaded = encode(&Samples::Narrow(tone(500.0, 8000, 95)));
    let (start, said) = (4096, loaded[0].len() - TAIL);
    let mut at = start;
    for octets in &loaded {
        assert!(guest.shelf.write(at, octets));
        at += octets.len();
    }
    assert_eq!((at - start) as u64, shelf_span(said as u32));
    for loaded in audio(loaded) {
        let shelf = host.shelf.clone();
        let audio = Audio::on_shelf(shelf, loaded.codec(), start as u32, said as u32);
        assert_eq!((audio.len(), audio.codec()), (loaded.len(), loaded.codec()));
        for from in [0, 160, 645, 800, u64::MAX] {
            let (mut one, mut other) = ([1; VOICE_PAYLOAD_MAX], [2; VOICE_PAYLOAD_MAX]);
            audio.write(from, false, &mut one);
            loaded.write(from, false, &mut other);
            // What lies behind the silence on the shelf is another's, and never heard.
            let heard = (said + TAIL).saturating_sub(from.min(said as u64) as usize);
            let heard = heard.min(VOICE_PAYLOAD_MAX);
            assert_eq!(one[..heard], other[..heard], "{:?} from {from}", audio.codec());
        }
    }
}
