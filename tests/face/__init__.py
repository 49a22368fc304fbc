"""What a user meets first: arguments, types, errors of use."""
