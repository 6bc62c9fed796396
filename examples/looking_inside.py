"""What a deep convolutional Gaussian mixture knows of an image, layer by layer: text, and pictures in one figure.

    python examples/looking_inside.py                  # half a minute; looking_inside.png
    python examples/looking_inside.py --image 7 --epochs 50

Trained are 2,000 digits of the sample that comes with the package. Then one test image is followed upward, to the
component of the last layer that explains it best, and back down to the image that this component stands for.
"""

import argparse

import matplotlib.pyplot as plt
import numpy as np

import dcgmm


def main() -> None:
    """Train, follow an image up and down, write the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=int, default=0, help="which of the test images")
    parser.add_argument("--epochs", type=int, help="as many as annealing takes, if left out")
    parser.add_argument("--limit", type=int, help="train on the first so many images")
    parser.add_argument("--output", default="looking_inside.png")
    given = parser.parse_args()

    data = dcgmm.datasets.load("mnist_sample", limit=given.limit)
    model = dcgmm.DCGMM.build((28, 28, 1), dcgmm.arch("2L-c"))
    dcgmm.fit(model, data.train.images, epochs=given.epochs, seed=0)
    image = data.test.images[given.image : given.image + 1]  # (1, 28, 28, 1)

    # Upward. gmm1 sees 8x8 overlapping windows of 7x7 pixels, and says which of 25 strokes lies in each.
    scored = model.score(image)
    lower, upper = model.gmms["gmm1"], model.gmms["gmm2"]
    strokes = scored["gmm1"].responsibilities[0].argmax(-1)  # (8, 8)
    surest = scored["gmm1"].responsibilities[0].amax(-1)
    print(f"gmm1: windows of 7x7 pixels; in {(surest > 0.9).sum()} of 64 one component is more than 90% sure:")
    print(strokes.numpy())

    # gmm2 sees all 64 answers as one patch of 1,600 numbers, and says which of 36 arrangements they are.
    arrangement = scored["gmm2"].responsibilities[0, 0, 0]  # (36,)
    best = arrangement.topk(3)
    print("gmm2: the arrangements that explain it best, with their responsibility and mixture weight")
    for component, share in zip(best.indices.tolist(), best.values.tolist(), strict=True):
        print(f"  {component}: {share:.3f}, {upper.log_weights[component].exp():.3f}")

    # Which training images does that component explain? They say what it stands for.
    winners = model.score(data.train.images)["gmm2"].responsibilities[:, 0, 0].argmax(-1)
    labels = data.train.labels[winners == best.indices[0]]
    counts = {data.class_names[label]: int((labels == label).sum()) for label in labels.unique().tolist()}
    print(f"it explains {len(labels)} training images best, by class: {counts}")

    # How likely is the image, and where is it unusual? Against the training images' own likelihoods.
    detector = dcgmm.Detector.fit(model, data.train.images)
    report = detector.report(image)
    nats, deviations = scored["gmm2"].log_prob.item(), report.scores["joint"].item()
    print(f"log-likelihood {nats:.1f} nats; score joint: {deviations:.2f} standard deviations from the training images")

    # Downward: that component's centroid says how likely each stroke is in each window; their means make the image.
    downward = upper.loc[best.indices[0]].clamp(min=0).view(8, 8, 25)
    patches = (downward / downward.sum(-1, keepdim=True)) @ lower.loc  # (8, 8, 49), mean patch of each window
    folding = model.named_layers["folding1"]
    assert isinstance(folding, dcgmm.model.Folding)
    whole = folding.downward(patches.unsqueeze(0))[0, ..., 0]  # (28, 28)

    figure, axes = plt.subplots(1, 5, figsize=(15, 3.4))
    sheet = lower.loc.view(5, 5, 7, 7).permute(0, 2, 1, 3).reshape(35, 35)
    shown = [image[0, ..., 0] / 255, sheet, strokes, report.maps["gmm1"][0], whole]
    top = f"component {int(best.indices[0])} of gmm2"
    titles = ["image", "25 strokes of gmm1", "which lies where", "deviations of gmm1", top]
    for place, picture, title in zip(axes, shown, titles, strict=True):
        place.imshow(np.asarray(picture.detach()), cmap="tab20" if title == titles[2] else "gray")
        place.set_title(title)
        place.axis("off")
    figure.savefig(given.output, dpi=100, bbox_inches="tight")
    print(given.output)


if __name__ == "__main__":
    main()
