import pytest
import torch

from head_detection.models.stock import build_stock, same_network


@pytest.mark.parametrize("image_size", [(48, 64), (50, 71)], ids=["whole pixels", "broken ones"])
def test_our_network_gives_the_stock_models_boxes(image_size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    stock = build_stock(min_size=96, max_size=160)
    image = torch.randint(0, 256, (3, *image_size), dtype=torch.uint8)
    with torch.inference_mode():
        (expected,) = stock([image.float() / 255])
        (found,) = same_network(stock)([image])
    assert len(expected["boxes"]) > 5
    # A hundredth of a pixel: float32 after fifty layers, normalised before or after resizing.
    torch.testing.assert_close(found["boxes"], expected["boxes"], atol=0.01, rtol=0)
    torch.testing.assert_close(found["scores"], expected["scores"], atol=1e-3, rtol=0)


def test_its_sizes_are_those_of_the_stock_model() -> None:
    model = same_network(build_stock(min_size=96, max_size=160))
    assert model.transform.resize.factor(48, 64) == 2.0
    assert model.transform.resize.factor(16, 64) == 2.5  # 160 / 64, where 96 / 16 is too much
