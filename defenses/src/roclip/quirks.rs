//! One test for each behaviour of the released code that the paper does not mention, with the
//! preset `official` as a suite gets it. Schedule and optimizer are tested in core
//! (`train/schedule.rs`, `train/adamw.rs`), half precision in `defense/half.rs`, and quirks that
//! need a training in `tests/integration/presets.rs`.

use super::*;
use gauntlet::defense::GivenStep;
use gauntlet::golden::Golden;
use gauntlet::model::normalize;
use gauntlet::serde_json::{self, Map, Value, json};
use gauntlet::{draw, registry};
use tch::Kind;

/// The preset with some keys changed.
fn preset(name: &str, own: Value) -> RoClip {
    let plugin = registry::find::<dyn Defense>("roclip").unwrap();
    let mut table = own.as_object().unwrap().clone();
    table.insert("preset".into(), json!(name));
    serde_json::from_value(Value::Object(registry::resolve(plugin, &table).unwrap())).unwrap()
}

fn official() -> RoClip {
    preset("official", json!({}))
}

/// A step on these embeddings, with gradient; `keys` are the row keys of its captions.
fn given(image: Tensor, text: Tensor, keys: Tensor) -> GivenStep {
    let tokens = keys.unsqueeze(1) * Tensor::from_slice(&[1i64, 100]);
    let [image, text, scale] = [image, text, Tensor::from(10f32)].map(|tensor| tensor.set_requires_grad(true));
    GivenStep::new(image, text, scale, keys, tokens)
}

/// A step on random unit rows, with keys from `first` on.
fn random(seed: i64, first: i64, rows: i64, dimensions: i64) -> GivenStep {
    tch::manual_seed(seed);
    let unit = || normalize(&Tensor::randn([rows, dimensions], (Kind::Float, Device::Cpu)));
    given(unit(), unit(), Tensor::arange(rows, (Kind::Int64, Device::Cpu)) + first)
}

/// The row keys that the last step's rows were matched to.
fn matched(given: &GivenStep) -> Vec<i64> {
    Vec::try_from(given.matches().last().unwrap().get(1)).unwrap()
}

fn number(tensor: &Tensor) -> f64 {
    f64::try_from(tensor).unwrap()
}

#[test]
fn equals_the_released_code_step_by_step() {
    let golden = Golden::of_tests("roclip"); // made by `roclip.py` beside it
    for size in [7, 3] {
        let mut roclip = official();
        let keys = Tensor::full([size], -1, (Kind::Int64, Device::Cpu));
        let noise = golden["noise"].narrow(0, 0, size).copy();
        roclip.memory = Some(Pool::of(noise, keys, Tensor::zeros([size, 4], (Kind::Int64, Device::Cpu))));
        for number in 0..5 {
            let input = |name: &str| golden[name].get(number).copy();
            let given = given(input("image"), input("text"), input("keys"));
            let loss = roclip.loss(&given.step(2)).unwrap();
            let gradients = Tensor::run_backward(&[&loss], &[&given.image, &given.logit_scale], false, false);
            let pool = roclip.memory.as_ref().unwrap();
            let expect = |name: &str, ours: &Tensor| {
                let wanted = golden[&format!("released-{size}/{name}")].get(number).to_kind(Kind::Double);
                let greatest = |tensor: Tensor| f64::try_from(tensor.abs().max()).unwrap();
                let error = greatest(ours.detach() - &wanted) / greatest(wanted).max(1.0);
                assert!(error < 1e-5, "size {size}, step {number}, {name}: off by {error:.1e}");
            };
            expect("loss", &loss);
            expect("gradient", &gradients[0]);
            expect("scale_gradient", &gradients[1]);
            expect("found", &given.matches()[0].get(1));
            expect("pool", &pool.embeddings);
            expect("pool_keys", &pool.keys);
            expect("next", &Tensor::from(pool.next));
        }
    }
}

#[test]
fn quirk_k_is_2_and_epochs_count_from_1() {
    let roclip = official();
    let matching: Vec<u32> = (1..=24).filter(|&epoch| roclip.matches_in(epoch)).collect();
    assert_eq!(matching, (2..=24).step_by(2).collect::<Vec<u32>>());
    assert_eq!((1..=24).filter(|&epoch| preset("paper", json!({})).matches_in(epoch)).count(), 8, "K = 3");
}

#[test]
fn quirk_the_text_tower_gets_a_zero_gradient_in_matching_epochs_only() {
    let roclip = official();
    assert_eq!(
        [1, 2, 3, 24].map(|epoch| roclip.phase(epoch).text_tower == TextTower::ZeroGradient),
        [false, true, false, true]
    );
    assert_eq!(roclip.phase(1).text_tower, TextTower::Trained);
}

#[test]
fn quirk_the_pool_is_searched_before_the_batch_enters_it_and_has_no_gradient() {
    let (first, second) = (random(1, 0, 4, 8), random(2, 4, 4, 8));
    let mut roclip = official();
    roclip.memory = Some(Pool::of_noise(PoolStart::RawNoise, [4, 8, 4]));
    let _ = roclip.loss(&first.step(2)).unwrap();
    assert_eq!(matched(&first), [-1; 4], "the batch's own captions are not in the pool yet");
    let loss = roclip.loss(&second.step(2)).unwrap();
    assert!(matched(&second).iter().all(|key| (0..4).contains(key)), "{:?}", matched(&second));
    let inputs = [&second.image, &first.text, &second.text];
    let gradients = Tensor::f_run_backward(&[&loss], &inputs, false, false).unwrap();
    assert_eq!(gradients.iter().map(Tensor::defined).collect::<Vec<_>>(), [true, false, false]);
}

#[test]
fn quirk_captions_that_several_images_match_are_not_masked() {
    let given = random(3, 0, 1, 8);
    let twice = |tensor: &Tensor| tensor.detach().repeat([2, 1]);
    let given = self::given(twice(&given.image), twice(&given.text), Tensor::from_slice(&[0i64, 1]));
    let mut roclip = official();
    roclip.memory = Some(Pool::of_noise(PoolStart::RawNoise, [5, 8, 4]));
    let loss = number(&roclip.loss(&given.step(2)).unwrap());
    assert!((loss - 2f64.ln()).abs() < 1e-6, "two equal columns leave a loss of ln 2, not {loss}");
}

#[test]
fn quirk_the_pool_stands_still_in_plain_epochs() {
    let (old, plain, new) = (random(1, 0, 4, 8), random(2, 4, 4, 8), random(3, 8, 4, 8));
    let mut roclip = official();
    roclip.memory = Some(Pool::of_noise(PoolStart::RawNoise, [4, 8, 4]));
    let _ = roclip.loss(&old.step(2)).unwrap();
    let before = roclip.memory.as_ref().unwrap().embeddings.copy();
    let loss = roclip.loss(&plain.step(3)).unwrap();
    let own = gauntlet::defense::clip_loss(&plain.image, &plain.text, &plain.logit_scale);
    assert_eq!(number(&loss), number(&own), "a plain epoch matches images to their own captions");
    assert_eq!(roclip.memory.as_ref().unwrap().embeddings, before);
    let _ = roclip.loss(&new.step(4)).unwrap();
    assert!(matched(&new).iter().all(|key| (0..4).contains(key)), "not those of epoch 2: {:?}", matched(&new));
}

#[test]
fn quirk_the_pool_starts_as_noise_that_nobody_normalised() {
    let (raw, unit) = ([PoolStart::RawNoise, PoolStart::Noise]).map(|how| Pool::of_noise(how, [500, 1024, 4])).into();
    let norms = |pool: &Pool| pool.embeddings.norm_scalaropt_dim(2.0, [1].as_slice(), false);
    let mean = number(&norms(&raw).mean(Kind::Double));
    assert!((mean - 32.0).abs() < 0.1, "the norm is {mean}, not sqrt(1024)");
    assert!(number(&(norms(&unit) - 1.0).abs().max()) < 1e-5);

    // The search is by cosine, so both find the same entry. The raw entry is not normalised, so its
    // norm multiplies the logits.
    let given = random(1, 0, 4, 1024);
    let found = given.step(2).nearest(&raw.embeddings);
    assert_eq!(found, given.step(2).nearest(&unit.embeddings));
    let raw_text = raw.embeddings.index_select(0, &found);
    let expected = number(&gauntlet::defense::clip_loss(&given.image, &raw_text, &given.logit_scale));
    let mut roclip = official();
    roclip.memory = Some(raw);
    assert_eq!(number(&roclip.loss(&given.step(2)).unwrap()), expected);
    assert_eq!(roclip.pool_start, PoolStart::RawNoise);
}

#[test]
fn quirk_a_batch_that_reaches_the_pools_end_is_cut_there() {
    // As with 512 rows and a pool of 21845: 42 batches fit, the 43rd leaves 341 rows and the rest
    // is lost.
    let mut roclip = official();
    let mut pool = Pool::of_noise(PoolStart::RawNoise, [10, 8, 4]);
    let given = [0, 4, 8].map(|first| random(1 + first, first, 4, 8));
    given.iter().for_each(|given| pool.push(&given.step(2), roclip.overflow));
    assert_eq!(
        (Vec::<i64>::try_from(&pool.keys).unwrap(), pool.next),
        ((0..10).collect(), 0),
        "rows 10 and 11 are lost"
    );
    assert_eq!(pool.tokens.get(9), given[2].tokens.get(1).constant_pad_nd([0, 2]), "tokens go with their keys");
    roclip.overflow = Overflow::WrapAround;
    given.iter().for_each(|given| pool.push(&given.step(2), roclip.overflow));
    assert_eq!((Vec::<i64>::try_from(pool.keys.narrow(0, 0, 2)).unwrap(), pool.next), (vec![10, 11], 2));
}

#[test]
fn quirk_the_pool_is_not_in_the_checkpoint() {
    let given = random(1, 0, 4, 8);
    let resumed = |own: Value| {
        let (mut before, mut after) = (preset("official", own.clone()), preset("official", own));
        before.memory = Some(Pool::of_noise(PoolStart::RawNoise, [10, 8, 4]));
        let _ = before.loss(&given.step(2)).unwrap();
        after.restore(before.state().unwrap(), Device::Cpu).unwrap();
        (before.memory.unwrap(), after.memory.unwrap())
    };
    let (_, after) = resumed(json!({}));
    let start = Pool::of_noise(PoolStart::RawNoise, [10, 8, 4]);
    assert!(after.embeddings == start.embeddings && after.keys == start.keys && after.next == 0, "the noise again");
    let (before, after) = resumed(json!({ "checkpoint_pool": true }));
    assert!(after.embeddings == before.embeddings && after.keys == before.keys && after.next == 4, "the knob keeps it");
    assert!(RoClip::default().checkpoint_pool, "and is on by default");

    let help = (registry::find::<dyn Defense>("roclip").unwrap().schema)();
    let help: Value = serde_json::from_str(&help).unwrap();
    let help = help["properties"]["checkpoint_pool"]["description"].as_str().unwrap();
    assert!(help.contains("WARNING") && help.contains("no longer equals"), "{help}");
    let refused = preset("official", json!({ "pool_start": "captions" })).check().unwrap_err().chain();
    assert!(refused.contains("key `checkpoint_pool`") && refused.contains("pool_start"), "{refused}");
}

#[test]
fn quirk_the_pool_has_21845_captions_whatever_the_data() {
    assert_eq!(official().size(1_000_000).unwrap(), 21_845);
    assert_eq!(preset("paper", json!({})).size(1_000_000).unwrap(), 20_000);
    let refused = official().size(7000).unwrap_err().chain();
    for part in [
        "key `pool`",
        "makes 21845 captions",
        "there are 7000 training rows",
        "such as 0.02",
        "up to the number of rows",
    ] {
        assert!(refused.contains(part), "{part:?} is not in: {refused}");
    }
}

#[test]
fn quirk_the_blur_is_always_on_with_21_pixels_at_224() {
    let augmentation = official().phase(1).augmentation.unwrap();
    assert_eq!(official().phase(2).augmentation, Some(augmentation), "in every epoch");
    let params: Vec<_> = (0..1000).map(|key| augmentation.draw(224, &mut draw::rng(1, "test", &[key]))).collect();
    assert!(params.iter().all(|drawn| drawn.blur_reach == 10 && (0.1..=2.0).contains(&drawn.blur)));
    let share = |count: usize| count as f64 / 1000.0;
    let jittered = share(params.iter().filter(|drawn| drawn.jitter.len() == 4).count());
    assert!((jittered - 0.8).abs() < 0.05, "{jittered}");
    let gray = share(params.iter().filter(|drawn| drawn.grayscale).count());
    assert!((gray - 0.2).abs() < 0.05, "{gray}");
    let areas = params.iter().map(|drawn| share((drawn.crop[2] * drawn.crop[3]) as usize) / 50.176);
    let (least, most) = areas.fold((1.0f64, 0.0f64), |(least, most), area| (least.min(area), most.max(area)));
    assert!((0.07..0.12).contains(&least) && most > 0.9, "areas from {least} to {most}");
}

#[test]
fn quirk_captions_are_edited_once_a_run() {
    assert_eq!([1, 2].map(|epoch| official().phase(epoch).captions), [CaptionEdits::Static; 2]);
    assert_eq!(preset("paper", json!({})).phase(1).captions, CaptionEdits::PerEpoch);
}

/// Presets state every value, so that a changed default does not change them.
#[test]
fn presets_hold_every_value_of_their_own() {
    let plugin = registry::find::<dyn Defense>("roclip").unwrap();
    for preset in registry::presets(plugin) {
        let resolved =
            registry::resolve(plugin, &Map::from_iter([("preset".to_string(), json!(preset.name))])).unwrap();
        let augmentation = resolved["augmentation"].as_object().unwrap();
        assert_eq!(preset.fields.len(), resolved.len() - 1 + augmentation.len(), "{}", preset.name);
        let default: Augmentation = serde_json::from_value(resolved["augmentation"].clone()).unwrap();
        assert_eq!(default, Augmentation::default(), "the default augmentation is the release's, to the last bit");
    }
}

/// No quirks, but RoCLIP's controls: the same epochs, with images matched to other captions.
#[test]
fn ablations_match_to_any_caption_or_to_their_own() {
    let given = random(1, 100, 64, 8);
    let matching_to = |matched_to| RoClip { matched_to, ..RoClip::default() };
    let (mut any, mut own) = (matching_to(MatchedTo::Random), matching_to(MatchedTo::Own));
    let pool = || Some(Pool::of_noise(PoolStart::Noise, [10, 8, 4]));
    let mut drawn = |epoch: u32| {
        any.memory = pool();
        any.memory.as_mut().unwrap().keys = Tensor::arange(10, (Kind::Int64, Device::Cpu));
        let _ = any.loss(&given.step(epoch)).unwrap();
        matched(&given)
    };
    let (first, again, later) = (drawn(2), drawn(2), drawn(4));
    assert_eq!(first, again, "a draw depends only on row and epoch");
    assert!(first != later && (0..10).all(|entry| first.contains(&entry)), "{first:?}, {later:?}");

    let loss = own.loss(&given.step(2)).unwrap();
    assert_eq!(number(&loss), number(&gauntlet::defense::clip_loss(&given.image, &given.text, &given.logit_scale)));
    assert_eq!(matched(&given), Vec::<i64>::try_from(&given.keys).unwrap());
    assert_eq!(own.phase(2).text_tower, TextTower::Frozen, "the text tower is frozen as in RoCLIP");
}
