"""Parts: the puppet, its transform into part maps, and the labels drawn from them."""
