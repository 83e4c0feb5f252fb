"""What a trained network says of patients: X1..Xn and its own score."""
