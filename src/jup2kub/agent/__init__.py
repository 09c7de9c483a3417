"""What runs a notebook, here or in a pod: kernel client, main line, steps. Python >= 3.9, standard library only."""
