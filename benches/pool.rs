//! RoCLIP's pool: the look-up of a batch, and the loss of a matching step, which looks up, pushes
//! and takes CLIP's loss.

use criterion::Criterion;
use gauntlet::defense::{GivenStep, State, clip_loss, nearest};
use gauntlet::model::normalize;
use gauntlet::tch::{Device, Kind, Tensor};
use gauntlet::{Defense, registry};

const BATCH: i64 = 32;
const DIMENSIONS: i64 = 1024;
const CONTEXT: i64 = 77;

pub fn bench(criterion: &mut Criterion) {
    gauntlet_defenses::link();
    gauntlet::tch::set_num_threads(1);
    let integers = (Kind::Int64, Device::Cpu);
    let random = |rows| normalize(&Tensor::randn([rows, DIMENSIONS], (Kind::Float, Device::Cpu)));
    let (image, text, scale) = (random(BATCH), random(BATCH), Tensor::from(14.3f32));
    let (keys, tokens) = (Tensor::arange(BATCH, integers), Tensor::zeros([BATCH, CONTEXT], integers));
    let given = GivenStep::new(image.copy(), text.copy(), scale.copy(), keys, tokens);
    let mut group = criterion.benchmark_group("pool");
    group.bench_function("clip loss of 32", |bencher| bencher.iter(|| clip_loss(&image, &text, &scale)));
    for size in [20_000, 200_000] {
        let pool = random(size);
        group.bench_function(format!("look-up of 32 in {size}"), |bencher| bencher.iter(|| nearest(&image, &pool)));
        let mut roclip =
            registry::find::<dyn Defense>("roclip").and_then(|plugin| plugin.build("{}")).expect("it ships");
        let state = State::from([
            ("embeddings".to_string(), pool),
            ("keys".to_string(), Tensor::zeros([size], integers)),
            ("tokens".to_string(), Tensor::zeros([size, CONTEXT], integers)),
            ("next".to_string(), Tensor::from(0i64)),
        ]);
        roclip.restore(state, Device::Cpu).expect("a whole state");
        group.bench_function(format!("matched loss of 32 in {size}"), |bencher| {
            bencher.iter(|| roclip.loss(&given.step(2)).expect("a loss"));
        });
    }
    group.finish();
}
