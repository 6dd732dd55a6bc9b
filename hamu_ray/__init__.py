"""Ray-native sweeps of machine unlearning: how far forgetting and skill go together, with one command."""
