"""What a person can know about their own data in minutes, from features of a frozen trunk."""
