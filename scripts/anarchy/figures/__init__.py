"""What figures are made of: style, parts, timelines. Each design draws its own in its folder of `designs`."""
