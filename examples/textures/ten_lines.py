"""Defects in a folder of textures, in ten lines of Python: python examples/textures/generate.py textures first."""

import sys

import dcgmm
from dcgmm.outliers import outlying_maps

root = sys.argv[1] if len(sys.argv) > 1 else "textures"

train = dcgmm.datasets.load("folder", path=f"{root}/data", color=True).train.images
model = dcgmm.DCGMM.build(train.shape[1:], dcgmm.arch("textures"))
dcgmm.fit(model, train, tile=[32, 32], steps=2500)
detector = dcgmm.Detector.fit(model, train, pooled=True)
new = dcgmm.datasets.load("folder", path=f"{root}/new", color=True, test_fraction=0.0).train
p_values = detector.p_values("auto", detector.scores(new.images)["auto"])
maps = [outlying_maps(detector, report.maps) for report in detector.reports(new.images, 1)]
for file, p, outlying in zip(new.files or (), p_values.tolist(), maps, strict=True):
    row, column = divmod(int(outlying.argmax()), outlying.shape[2])
    print(file.name, f"p={p:.2g}", f"defect near row {row}, column {column}" if p < 0.05 else "good")
