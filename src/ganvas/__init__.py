"""ganvas: train, judge, sample and serve generative adversarial networks on your own images.

    import ganvas
    run = ganvas.train("cgan/digits", minutes=5)
    run.sample(labels="20231223").save("result.png")
"""

__version__ = "0.1.0"
