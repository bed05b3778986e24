"""The job on AWS Lambda without an account: Lithops' own backend against moto and a Lambda service of our own."""
